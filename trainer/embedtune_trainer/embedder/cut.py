"""Where a network is cut: what its feature is, how to run it so far, and what then goes.

`auto` takes what goes into the head, which is one vector for most networks. If a pooling is asked
for, it takes the last map of places, or sequence of tokens, before the head instead.
"""

import difflib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from embedtune_trainer.embedder.features import FeatureKind, Stop
from embedtune_trainer.embedder.freeze import above
from embedtune_trainer.embedder.heads import Head, in_front
from embedtune_trainer.embedder.trace import (
    BATCH,
    Shape,
    Trace,
    first_tensor,
    used_parameters,
)
from embedtune_trainer.errors import BadSpec

FIELD = "spec.model.cut"
PARTS: Final[dict[str, Callable[[Any, Tensor], Any]]] = {
    "features": lambda network, images: network.forward_features(images),
    "pre_logits": lambda network, images: network.forward_head(
        network.forward_features(images), pre_logits=True
    ),
}
"""What timm's networks can be asked for: features before pooling, and what goes into the heads."""
MOST_PREFIX = 16
"""Most class and register tokens that stand before an image's places."""


@dataclass(frozen=True)
class Cut:
    """A point in a network's run.

    Attributes:
        path: of a module; empty for the network itself.
        side: its input, its output, or one of PARTS, of the network itself.
        call: the how manieth call of the module, from 1.
    """

    path: str
    side: Literal["input", "output", "features", "pre_logits"]
    call: int = 1

    def __str__(self) -> str:
        """As messages and reports have it."""
        if self.side in PARTS:
            return f"what timm calls {self.side}"
        again = f" (call {self.call})" if self.call > 1 else ""
        return f"{self.side} of {self.path or 'the network'}{again}"


@dataclass(frozen=True)
class FeatureShape:
    """What stands at a cut.

    Attributes:
        kind: tokens, places or vector.
        dim: numbers of each.
        channels_last: whether places are (B, Y, X, H).
        prefix: leading tokens that are no places.
    """

    kind: FeatureKind
    dim: int
    channels_last: bool = False
    prefix: int = 0


def cut_at(run: Trace, path: str) -> Cut:
    """A module's output, of its last call.

    Raises:
        BadSpec: no such module; the message names those that come near.
    """
    calls = run.of(path)
    if not calls:
        names = list(dict.fromkeys(call.path for call in run.calls if call.path))
        tails = [name for name in names if name.endswith("." + path)]
        near = list(dict.fromkeys([*tails[:2], *difflib.get_close_matches(path, names, 3, 0.4)]))
        tops = list(dict.fromkeys(name.split(".", maxsplit=1)[0] for name in names))
        hint = f"; near it: {', '.join(near[:3])}" if near else ""
        raise BadSpec(
            f"{FIELD}: {path!r} is no module that runs in the backbone{hint}; at its top are"
            f" {', '.join(tops)}, and `embedtune inspect` lists all"
        )
    return Cut(path, "output", calls[-1].number)


def cut_before(run: Trace, head: Head | None) -> Cut:
    """What goes into the head; without a head, what the network gives."""
    if head is None:
        return Cut("", "output")
    call = in_front(run, head)
    return Cut(call.path, "input", call.number)


def cut_unpooled(run: Trace, head: Head | None) -> Cut | None:
    """The last output before the head that has several places or tokens; None if none has."""
    end = run.of(head.path)[0].entered if head else max(c.left for c in run.calls) + 1
    before = sorted((c for c in run.calls if c.left < end), key=lambda c: -c.left)
    for call in before:
        shape = tuple(call.output.shape) if call.output is not None else ()
        if shape[:1] == (BATCH,) and is_unpooled(shape):
            return Cut(call.path, "output", call.number)
    return None


def feature_shape(run: Trace, cut: Cut) -> FeatureShape:
    """What stands at the cut.

    Raises:
        BadSpec: nothing that could be pooled.
    """
    tensor = _at(run, cut)
    shape = tuple(tensor.shape) if tensor is not None else ()
    if len(shape) not in (2, 3, 4) or shape[0] != BATCH:
        said = "no tensor" if tensor is None else f"a tensor of shape {shape}"
        raise BadSpec(
            f"{FIELD}: the {cut} is {said} for {BATCH} images; a feature is (images, numbers),"
            " (images, tokens, numbers) or (images, channels, height, width)"
        )
    if len(shape) == 2:
        return FeatureShape("vector", shape[1])
    if len(shape) == 3:
        return FeatureShape("tokens", shape[2], prefix=_prefix(run, shape[1]))
    last = shape[1] == shape[2] != shape[3] and shape[2] != shape[3]
    return FeatureShape("places", shape[3] if last else shape[1], channels_last=last)


def run_to(network: nn.Module, cut: Cut, inputs: Any) -> Tensor:  # noqa: ANN401  what the network takes
    """Run the network as far as the cut.

    Args:
        network: what is run.
        cut: how far.
        inputs: its one argument, or its keyword arguments.

    Returns:
        What stands there.
    """
    if cut.side in PARTS:
        return _tensor(PARTS[cut.side](network, inputs))
    if not cut.path:
        return _tensor(_run(network, inputs))
    calls = itertools.count(1)
    seen: list[Tensor] = []

    def stop(value: object) -> None:
        if next(calls) == cut.call:
            seen.append(_tensor(value))
            if not torch.compiler.is_exporting():  # which keeps account of what returns
                raise _Reached

    module = network.get_submodule(cut.path)
    hook = (
        module.register_forward_pre_hook(lambda _, args: stop(args))
        if cut.side == "input"
        else module.register_forward_hook(lambda _, __, output: stop(output))
    )
    try:
        _run(network, inputs)
    except _Reached:
        pass
    finally:
        hook.remove()
    if not seen:
        raise RuntimeError(f"the network ended before the {cut}")
    return seen[0]


def removable(run: Trace, cut: Cut) -> tuple[str, ...]:
    """Paths of the topmost modules that the feature does not need: head, what only runs behind the
    cut, and heads that only train.

    A module that is never called but whose weights the feature depends on stays.
    """
    network = run.network
    end = _end(run, cut)
    before = {c.path for c in run.calls if c.entered < end}
    after = {c.path for c in run.calls} - before
    used = used_parameters(_node(run, cut))
    needed = {up for path in (*before, cut.path) for up in above(path)} | before
    gone: dict[str, None] = {}
    for path, module in network.named_modules():
        if not path or path in needed or not gone.keys().isdisjoint(above(path)):
            continue
        parameters = list(module.parameters())
        if (path in after or parameters) and not any(id(p) in used for p in parameters):
            gone[path] = None
    return tuple(gone)


def unused_parameters(run: Trace, cut: Cut, gone: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the parameters that stay although the feature does not depend on them."""
    used = used_parameters(_node(run, cut))
    return tuple(
        name
        for name, parameter in run.network.named_parameters()
        if id(parameter) not in used and not any(name.startswith(f"{path}.") for path in gone)
    )


def remove(network: nn.Module, paths: tuple[str, ...], idle: tuple[str, ...]) -> None:
    """Put a Stop in the place of these modules, which passes on what it gets, and None in that of
    the idle ones, which only run in training. No other module's path changes.
    """
    for path in paths:
        above, _, name = path.rpartition(".")
        network.get_submodule(above)._modules[name] = None if path in idle else Stop()


def ends_at(network: nn.Module, cut: Cut, images: Tensor) -> bool:
    """Whether a network without what is removed gives the feature of itself, without being stopped.

    Args:
        network: of which all that is behind the cut is removed.
        cut: where the feature is.
        images: as many as it takes, on the network's device.
    """
    if cut.side != "input":
        return False
    reached: list[object] = []
    hook = network.get_submodule(cut.path).register_forward_pre_hook(
        lambda _, given: reached.append(given[0])
    )
    try:
        with torch.no_grad():
            result = network(images)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False  # what comes behind takes no feature in place of a head's output
    finally:
        hook.remove()
    return len(reached) == 1 and result is reached[0]


class _Reached(BaseException):
    """Leaves the network at the cut; no `except Exception` in it may stop it."""


def _run(network: nn.Module, inputs: Any) -> object:  # noqa: ANN401  what the network takes
    return network(**inputs) if isinstance(inputs, Mapping) else network(inputs)


def _tensor(value: object) -> Tensor:
    tensor = first_tensor(value)
    if tensor is None:
        raise TypeError("the network gives no tensor")
    return tensor


def _at(run: Trace, cut: Cut) -> Tensor | None:
    if cut.side in PARTS or not cut.path:
        return run.output
    call = run.of(cut.path)[cut.call - 1]
    return call.input if cut.side == "input" else call.output


def _node(run: Trace, cut: Cut) -> object:
    if cut.side in PARTS or not cut.path:
        return run.output.grad_fn if run.output is not None else None
    call = run.of(cut.path)[cut.call - 1]
    return call.input_node if cut.side == "input" else call.node


def _end(run: Trace, cut: Cut) -> int:
    """The event at which the cut is reached."""
    if cut.side in PARTS or not cut.path:
        return max(call.left for call in run.calls) + 1
    call = run.of(cut.path)[cut.call - 1]
    return call.entered if cut.side == "input" else call.left


def is_unpooled(shape: Shape) -> bool:
    """Whether it has several places, or more tokens than a class and a distillation token."""
    return len(shape) in (3, 4) and places_in(shape) > (2 if len(shape) == 3 else 1)


def places_in(shape: Shape) -> int:
    """Places or tokens in a feature of this shape."""
    if len(shape) == 3:
        return shape[1]
    return shape[1] * shape[2] if shape[1] == shape[2] != shape[3] else shape[2] * shape[3]


def _prefix(run: Trace, tokens: int) -> int:
    """Tokens beyond those of the last map of places; what timm says if there was no map."""
    for call in reversed(run.calls):
        shape = tuple(call.output.shape) if call.output is not None else ()
        if len(shape) == 4 and shape[0] == BATCH and 0 <= tokens - places_in(shape) <= MOST_PREFIX:
            return tokens - places_in(shape)
    said = getattr(run.network, "num_prefix_tokens", 0)
    return said if isinstance(said, int) else 0
