"""What a backbone consists of, module by module in the order in which they run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from torch import nn

from embedtune_trainer.embedder.assemble import Parts
from embedtune_trainer.embedder.cut import FeatureShape
from embedtune_trainer.embedder.features import FeatureKind
from embedtune_trainer.embedder.heads import Head
from embedtune_trainer.embedder.pooling import spec_names
from embedtune_trainer.embedder.trace import BATCH, Call, Shape, Trace, bottlenecks

State = Literal["trained", "frozen", "partly", "left out", "none"]


@dataclass(frozen=True)
class ModuleRow:
    """One module.

    Attributes:
        path: of it.
        type: its class.
        input: shape of its first tensor, for a batch of BATCH items.
        output: shape of what it gives.
        parameters: numbers in its weights and in those of what it holds.
        trained: how many of them are trained, adapters included.
        state: in a word; none if it has no weights.
        candidate: the kind of feature if it can be the cut.
        calls: how often it runs.
    """

    path: str
    type: str
    input: Shape | None
    output: Shape | None
    parameters: int
    trained: int
    state: State
    candidate: FeatureKind | None
    calls: int


@dataclass(frozen=True)
class Bare:
    """An encoder without weights, to be run on shapes.

    Attributes:
        parts: it.
        input: shape of what its network takes, for BATCH items; None if nothing was run.
    """

    parts: Parts
    input: Shape | None


@dataclass(frozen=True)
class Analysis:
    """A backbone and what the spec makes of it.

    Attributes:
        backbone: its URI.
        takes: what a batch of it is, in words.
        rows: modules in the order in which they run, each once.
        head: what is left out, if anything is; why says how it was found.
        cut: where the feature is, in words.
        feature: what stands there.
        pooling: of the feature; none if it is one vector.
        layers: what stands behind the pooling.
        embedding_dim: D.
        parameters: of backbone, pooling and layers, without what is left out.
        trained: how many of them are trained.
        bare: the encoder itself.
    """

    backbone: str
    takes: str
    rows: tuple[ModuleRow, ...]
    head: Head | None
    cut: str
    feature: FeatureShape
    pooling: str
    layers: tuple[str, ...]
    embedding_dim: int
    parameters: int
    trained: int
    bare: Bare = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: all but the encoder itself."""
        found = asdict(replace(self, bare=None))  # type: ignore[arg-type]  no copy of a network
        del found["bare"]
        return found

    def without_cuts(self) -> "Analysis":
        """The same where there can be no other cut."""
        return replace(self, rows=tuple(replace(row, candidate=None) for row in self.rows))


def analyse(  # noqa: PLR0913  what it says has as many parts
    network: nn.Module,
    run: Trace,
    parts: Parts,
    *,
    backbone: str,
    takes: str,
    sizes: Mapping[str, int],
    head: Head | None,
    cut: str,
    feature: FeatureShape,
    candidates: Mapping[str, FeatureKind] | None = None,
    under: str = "",
) -> Analysis:
    """Put together what is known of a network.

    Args:
        network: as it is trained: cut, frozen, with adapters.
        run: of the whole of it.
        parts: what stands behind it.
        backbone: URI.
        takes: what a batch of it is.
        sizes: parameters of each module, by path, from before it was cut.
        head: what was left out.
        cut: where the feature is.
        feature: what stands there.
        candidates: what stands behind the modules that can be the cut, by their paths.
        under: path of the network in the whole of the checkpoint.
    """
    behind = [*parts.pooling.parameters(), *nn.ModuleList(list(parts.layers)).parameters()]
    everything = [*network.parameters(), *behind]
    return Analysis(
        backbone,
        takes,
        _rows(network, run, sizes, candidates or {}, f"{under}." if under else ""),
        head,
        cut,
        feature,
        " and ".join(spec_names(parts.pooling)) or "none",
        tuple(_layer(layer) for layer in parts.layers),
        parts.embedding_dim,
        sum(p.numel() for p in everything),
        sum(p.numel() for p in everything if p.requires_grad),
        Bare(parts, _shape(run.calls[0].input) if run.calls else None),
    )


def bottleneck_cuts(run: Trace, head: Head | None) -> dict[str, FeatureKind]:
    """The modules in front of the head that all passes through, and what then stands there."""
    nodes = bottlenecks(run.output.grad_fn, run.source) if run.output is not None else []
    through = {id(node) for node in nodes}
    last = {call.path: call for call in run.calls if call.path}
    kinds = {
        path: _kind(_shape(call.output))
        for path, call in last.items()
        if id(call.node) in through and path != (head.path if head else None)
    }
    return {path: kind for path, kind in kinds.items() if kind is not None}


def module_sizes(network: nn.Module) -> dict[str, int]:
    """Parameters of each module by path."""
    return {path: sum(p.numel() for p in m.parameters()) for path, m in network.named_modules()}


def _rows(
    network: nn.Module,
    run: Trace,
    sizes: Mapping[str, int],
    candidates: Mapping[str, FeatureKind],
    prefix: str,
) -> tuple[ModuleRow, ...]:
    now = dict(network.named_modules())
    calls: dict[str, list[Call]] = {}
    for call in run.calls:
        if call.path:
            calls.setdefault(call.path, []).append(call)
    rows = []
    for path, made in calls.items():
        last = made[-1]
        module = now.get(path)
        weights = list(module.parameters()) if module is not None else []
        trained = sum(p.numel() for p in weights if p.requires_grad)
        rows.append(
            ModuleRow(
                prefix + path,
                type(last.module).__name__,
                _shape(made[0].input),
                _shape(last.output),
                sizes[path],
                trained,
                _state(sizes[path], weights, trained),
                candidates.get(path),
                len(made),
            )
        )
    return tuple(rows)


def _state(size: int, weights: Sequence[nn.Parameter], trained: int) -> State:
    if not size:
        return "none"
    if not weights:
        return "left out"
    if not trained:
        return "frozen"
    return "trained" if all(p.requires_grad for p in weights) else "partly"


def _kind(shape: Shape | None) -> FeatureKind | None:
    if shape is None or shape[:1] != (BATCH,):
        return None
    kinds: dict[int, FeatureKind] = {2: "vector", 3: "tokens", 4: "places"}
    return kinds.get(len(shape))


def _shape(tensor: object) -> Shape | None:
    shape = getattr(tensor, "shape", None)
    return None if shape is None else tuple(shape)


def _layer(layer: nn.Module) -> str:
    linear = getattr(layer, "linear", None)
    name = type(layer).__name__
    return f"{name} {linear.in_features} to {linear.out_features}" if linear is not None else name
