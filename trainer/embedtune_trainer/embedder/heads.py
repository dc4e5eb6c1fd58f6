"""Which module of a network is its head: what the library says, or else how it is built."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from embedtune_trainer.embedder.trace import Call, Trace

CLASSIFIERS: Final = ("fc", "classifier", "heads", "head")
"""Where torchvision's classification models have their head."""
_ONLY_SHAPE: Final = ("View", "Reshape", "Squeeze", "Unsqueeze", "Alias", "Permute", "Transpose")


@dataclass(frozen=True)
class Head:
    """What is left out.

    Attributes:
        path: of the module; the first of them to run, if the network has several heads.
        why: how it was found.
        alone: whether there is no other that something else goes into.
    """

    path: str
    why: str
    alone: bool = True


def find_head(network: nn.Module, run: Trace) -> Head | None:
    """The network's head, or None if its output is a feature already.

    Args:
        network: a classification model of torchvision or timm, or any network.
        run: a trace of it.
    """
    if hasattr(network, "get_classifier") and hasattr(network, "pretrained_cfg"):
        return _timm(network, run)
    for name in CLASSIFIERS:
        module = getattr(network, name, None)
        if type(network).__module__.startswith("torchvision.") and isinstance(module, nn.Module):
            path = _last_with_weights(name, module)
            if run.of(path):
                return Head(path, f"torchvision's models have their classifier in {name}")
    return _by_structure(run)


def _timm(network: Any, run: Trace) -> Head | None:  # noqa: ANN401  timm's models share no type
    """What timm's get_classifier() gives, or its configuration names; neither for none."""
    given = network.get_classifier()
    modules = given if isinstance(given, tuple | list) else (given,)
    chosen = [call for call in run.calls if any(call.module is m for m in modules)]
    why = "timm's get_classifier() gives it"
    if not chosen:
        named = network.pretrained_cfg.get("classifier") or ()
        names = (named,) if isinstance(named, str) else tuple(named)
        chosen = [call for call in run.calls if call.path in names]
        why = "timm's configuration names it as the classifier"
    chosen = [call for call in chosen if not isinstance(call.module, nn.Identity)]
    alone = len({id(call.input_node) for call in chosen}) == 1
    return Head(chosen[0].path, why, alone) if chosen else None


def _last_with_weights(path: str, module: nn.Module) -> str:
    """The last linear layer or convolution in the module, or itself."""
    inside = [p for p, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return ".".join(filter(None, (path, inside[-1]))) if inside else path


def _by_structure(run: Trace) -> Head | None:
    """The last linear layer to run, if nothing but its shape changes behind it."""
    last = next((c for c in reversed(run.calls) if isinstance(c.module, nn.Linear)), None)
    if last is None or run.output is None:
        return None
    node: Any = run.output.grad_fn
    while node is not None and node is not last.node and _changes_only_shape(node):
        node = node.next_functions[0][0]
    if node is None or node is not last.node:
        return None
    return Head(last.path, "the last linear layer to run, and its output is the network's")


def _changes_only_shape(node: Any) -> bool:  # noqa: ANN401  autograd nodes have no public type
    return any(word in node.name() for word in _ONLY_SHAPE)


def in_front(run: Trace, head: Head) -> Call:
    """The call whose input is the feature: the head's, or that of the dropout in front of it."""
    first = run.of(head.path)[0]
    before: Sequence[Call] = [c for c in run.calls if c.left < first.entered]
    for call in sorted(before, key=lambda c: -c.left):
        if not isinstance(call.module, nn.Dropout | nn.Identity) or not _passes_on(call, first):
            break
        first = call
    return first


def _passes_on(call: Call, following: Call) -> bool:
    return (
        call.output is not None
        and following.input is not None
        and call.node is following.input_node
        and call.output.shape == following.input.shape
    )
