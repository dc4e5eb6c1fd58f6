"""A network run once on tensors without data, and what that shows of it.

On the meta device a run has shapes and an autograd graph but neither weights nor arithmetic, so
that a network of billions of parameters is followed in seconds. The graph tells through which
modules all of the output passes, and which parameters a feature depends on.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from embedtune_trainer.embedder.shapes import ShapesOnly

BATCH: Final = 2
"""Items in the traced batch."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One call of one module.

    Attributes:
        path: of the module; empty for the network itself.
        number: 1 for the module's first call.
        entered: when it began, in events of the run.
        left: when it ended.
        input: its first tensor; None if it got none.
        output: its first tensor, or None.
        node: the autograd node of the output as it left, before anything changed it in place.
        input_node: of the input.
    """

    path: str
    module: nn.Module
    number: int
    entered: int
    left: int
    input: Tensor | None
    output: Tensor | None
    node: Any
    input_node: Any


@dataclass(frozen=True)
class Trace:
    """A run.

    Attributes:
        network: what ran.
        calls: in the order in which they began.
        source: the autograd node that the graph starts from, behind the inputs.
        result: what the network gave.
    """

    network: nn.Module
    calls: tuple[Call, ...]
    source: Any
    result: object

    @property
    def output(self) -> Tensor | None:
        """The first tensor of the result."""
        return first_tensor(self.result)

    def of(self, path: str) -> list[Call]:
        """The calls of one module."""
        return [call for call in self.calls if call.path == path]


def trace(
    network: nn.Module,
    inputs: Mapping[str, Any] | Tensor,
    part: Callable[[Tensor], object] | None = None,
) -> Trace:
    """Run a network in evaluation mode and look on.

    Args:
        network: on the meta device, or small; its parameters are made to require gradients.
        inputs: its one argument, or its keyword arguments.
        part: what is called in place of the network.
    """
    network.eval()
    for parameter in network.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_()
    found: list[Call] = []
    with torch.enable_grad(), ShapesOnly(), _watched(network, found):
        if isinstance(inputs, Tensor):
            given = _from_source(inputs)
            output, start = (part or network)(given), given.grad_fn
        else:
            named = {name: _from_source(tensor) for name, tensor in inputs.items()}
            output = network(**named)
            nodes = (getattr(value, "grad_fn", None) for value in named.values())
            start = next((node for node in nodes if node is not None), None)
    calls = sorted(found, key=lambda call: call.entered)
    if start is None:
        first = next((c for c in calls if isinstance(c.module, nn.Embedding)), None)
        start = first.node if first else None
    return Trace(network, tuple(calls), start, output)


def _from_source(value: Any) -> Any:  # noqa: ANN401  what a network takes
    """Numbers as the output of an autograd node, and so no leaf, since they may change in place."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.detach().requires_grad_().clone()


def first_tensor(value: object) -> Tensor | None:
    """The first tensor in a module's output: itself, or of a tuple, dictionary or data class."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return next((t for t in map(first_tensor, value) if t is not None), None)
    return None


def used_parameters(node: object) -> set[int]:
    """The id() of each parameter that this node depends on."""
    return {id(n.variable) for n in _graph(node) if hasattr(n, "variable")}


def bottlenecks(output: object, source: object) -> list[object]:
    """The nodes that every way from the source to the output passes through."""
    if output is None or source is None:
        return []
    graph = sorted((n for n in _graph(output) if not hasattr(n, "variable")), key=_age)
    reaching = {id(source)}
    for node in graph:
        if any(id(n) in reaching for n, _ in node.next_functions):
            reaching.add(id(node))
    found: list[object] = []
    waiting, seen = [(-_age(output), id(output), output)], {id(output)}
    while waiting:
        _, _, node = heapq.heappop(waiting)
        if not waiting:
            found.append(node)
        for following, _ in getattr(node, "next_functions", ()):
            if id(following) in reaching and id(following) not in seen:
                seen.add(id(following))
                heapq.heappush(waiting, (-_age(following), id(following), following))
    return found


def _age(node: Any) -> int:  # noqa: ANN401  autograd nodes have no public type
    """Grows from the source to the output."""
    return int(node._sequence_nr())


def _graph(node: Any) -> list[Any]:  # noqa: ANN401  autograd nodes have no public type
    """All nodes that this one depends on, and itself."""
    found: dict[int, Any] = {}
    waiting = [node] if node is not None else []
    while waiting:
        current = waiting.pop()
        if id(current) not in found:
            found[id(current)] = current
            waiting += [n for n, _ in current.next_functions if n is not None]
    return list(found.values())


@contextmanager
def _watched(network: nn.Module, found: list[Call]) -> Iterator[None]:
    """Hooks on all modules that write down calls as they end."""
    events = iter(range(1 << 62))
    begun: dict[str, list[tuple[int, Tensor | None, Any]]] = {}
    counts: dict[str, int] = {}

    def enter(path: str, args: Any, kwargs: Any) -> None:  # noqa: ANN401  what hooks get
        tensor = first_tensor(args)
        if tensor is None:
            tensor = first_tensor(kwargs)
        node = tensor.grad_fn if tensor is not None else None
        begun.setdefault(path, []).append((next(events), tensor, node))

    def leave(path: str, module: nn.Module, result: object) -> None:
        entered, tensor, node = begun[path].pop()
        counts[path] = counts.get(path, 0) + 1
        output = first_tensor(result)
        after = output.grad_fn if output is not None else None
        found.append(
            Call(path, module, counts[path], entered, next(events), tensor, output, after, node)
        )

    with ExitStack() as stack:
        for path, module in network.named_modules():
            before = module.register_forward_pre_hook(
                lambda _, args, kwargs, p=path: enter(p, args, kwargs),
                with_kwargs=True,
            )
            after = module.register_forward_hook(lambda m, _, result, p=path: leave(p, m, result))
            stack.callback(before.remove)
            stack.callback(after.remove)
        yield
