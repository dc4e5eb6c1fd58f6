"""`embedtune inspect`: what a backbone consists of, as a table or as JSON.

Modules stand in the order in which they run. What holds others stands in front of them. Blocks of
one kind that follow each other are one line, and a kind of block is taken apart only once.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedtune_api.spec import Encoder
    from embedtune_trainer.embedder.analysis import Analysis, ModuleRow
    from embedtune_trainer.sources.fetch import Fetched

COLUMNS = ("module", "type", "output", "parameters", "state", "cut")
SEVERAL = 4
"""So many blocks with names like block7 become one line; numbered ones do from two."""


def inspect_backbone(encoder: "Encoder", fetched: "Fetched | None" = None) -> "Analysis":
    """Look at a backbone without its weights; see embedder.inspect_backbone."""
    from embedtune_trainer.embedder import inspect_backbone as looking

    return looking.inspect_backbone(encoder, fetched)


def to_dict(analysis: "Analysis") -> dict[str, Any]:
    """For JSON; shapes are of a batch of `batch` items."""
    from embedtune_trainer.embedder.trace import BATCH

    return {"batch": BATCH, **asdict(analysis)}


def render(analysis: "Analysis") -> str:
    """The table, and below it head, feature and embedding in a line each."""
    lines = [COLUMNS, *_lines(analysis.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    table = [
        "  ".join(
            cell.rjust(width) if i == 3 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    head = analysis.head
    said = f"{head.path}, left out: {head.why}" if head else _no_head(analysis)
    behind = ", ".join(analysis.layers) or "nothing"
    cuttable = any(row.candidate for row in analysis.rows)
    legend = "; * can be spec.model.cut" if cuttable else ""
    return "\n".join(
        [
            f"{analysis.backbone} takes {analysis.takes}; B is their number{legend}",
            "",
            *([*table, ""] if analysis.rows else []),
            f"head       {said}",
            f"feature    {analysis.cut}, {_feature(analysis)}",
            f"pooling    {analysis.pooling}, then {behind}",
            f"embedding  {analysis.embedding_dim} dimensions; {analysis.parameters:,} parameters,"
            f" {analysis.trained:,} of them trained",
        ]
    )


def _no_head(analysis: "Analysis") -> str:
    behind = any(row.state == "left out" for row in analysis.rows)
    return "none is left out" + (" but what runs behind the cut" if behind else "")


def _feature(analysis: "Analysis") -> str:
    feature = analysis.feature
    if feature.kind == "vector":
        return f"one vector of {feature.dim}"
    each = "place" if feature.kind == "places" else "token"
    prefix = f", {feature.prefix} in front that are no places" if feature.prefix else ""
    return f"a vector of {feature.dim} for each {each}{prefix}"


@dataclass(frozen=True)
class _Node:
    """A module and those in it, as they run."""

    row: "ModuleRow"
    inside: list["_Node"]

    @property
    def kind(self) -> str:
        """Equal for modules that are built alike."""
        return f"{self.row.type}({','.join(node.kind for node in self.inside)})"


def _lines(rows: Sequence["ModuleRow"]) -> Iterator[tuple[str, ...]]:
    """The table's lines."""
    nodes: dict[str, _Node] = {}
    tops: list[_Node] = []
    for row in rows:
        node = nodes[row.path] = _Node(row, [])
        above = row.path
        while above and (above == row.path or above not in nodes):
            above = above.rpartition(".")[0]
        (nodes[above].inside if above else tops).append(node)
    yield from _below(tops, set())


def _below(nodes: Sequence[_Node], shown: set[str]) -> Iterator[tuple[str, ...]]:
    begin = 0
    while begin < len(nodes):
        first = nodes[begin]
        end = begin + 1
        while end < len(nodes) and _alike(first, nodes[end]):
            end += 1
        if end - begin < _fewest(first):
            end = begin + 1
        yield _line(nodes[begin:end])
        if first.inside and first.kind not in shown:
            shown.add(first.kind)
            yield from _below(first.inside, shown)
        begin = end


def _alike(one: _Node, other: _Node) -> bool:
    """Whether two blocks may share a line."""
    return (
        bool(one.inside)
        and one.kind == other.kind
        and one.row.state == other.row.state
        and one.row.candidate == other.row.candidate
    )


def _fewest(node: _Node) -> int:
    return 2 if re.search(r"(^|\.)\d+$", node.row.path) else SEVERAL


def _line(nodes: Sequence[_Node]) -> tuple[str, ...]:
    first, last = nodes[0].row, nodes[-1].row
    many = len(nodes) > 1
    outputs = list(dict.fromkeys((_shape(first.output), _shape(last.output))))
    parameters = sum(node.row.parameters for node in nodes)
    return (
        f"{first.path} … {last.path.rpartition('.')[2]}" if many else first.path,
        f"{first.type} x {len(nodes)}" if many else first.type,
        " … ".join(outputs),
        f"{parameters:,}" if parameters else "",
        "" if first.state == "none" else first.state,
        f"* {first.candidate}" if first.candidate else "",
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    """B stands for the batch; windows of an image are a multiple of it."""
    from embedtune_trainer.embedder.trace import BATCH

    if not shape:
        return "" if shape is None else "()"
    times, rest = divmod(shape[0], BATCH)
    batch = str(shape[0]) if rest or not times else "B" if times == 1 else f"{times}B"
    return " x ".join([batch, *map(str, shape[1:])])
