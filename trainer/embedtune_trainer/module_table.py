"""A network's modules as a table of 100 columns, in the order in which they run.

What holds others stands in front of them. Blocks of one kind that follow each other are one line,
and a kind of block is taken apart only once.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from embedtune_trainer.embedder.analysis import ModuleRow

WIDTH: Final = 100
"""Characters of the longest line, but for the paths of modules, which are never cut."""
HEADER: Final = ("", "module", "type", "output", "parameters", "state")
TYPE_ROOM: Final = (14, 28)
"""Characters of the column of types: at least, where paths are long, and at most."""
SEVERAL: Final = 4
"""So many blocks with names like block7 become one line; numbered ones do from two."""

_Line = tuple[str, str, str, str, str, str]
"""Whether it can be the cut, and then as HEADER."""


def module_table(rows: Sequence["ModuleRow"]) -> list[str]:
    """The table's lines, its header first."""
    lines = [HEADER, *_below(_nodes(rows), set())]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    mark, path, type_, *others = widths
    room = WIDTH - (mark and mark + 1) - sum(others) - 2 * (len(HEADER) - 2)
    least, most = TYPE_ROOM
    widths[2] = min(type_, max(least, min(most, room - path)))
    widths[1] = min(path, room - widths[2])
    return [text for line in lines for text in _texts(line, widths)]


def _texts(line: _Line, widths: Sequence[int]) -> Iterator[str]:
    """A line of the table; a path that is too long stands on a line of its own."""
    mark, path, type_, *rest = line
    cells = [_shortened(type_, widths[2]), *rest]
    if len(path) > widths[1]:
        yield _marked(mark, widths[0]) + path
        mark, path = "", ""
    cells = [
        cell.rjust(width) if title == "parameters" else cell.ljust(width)
        for cell, width, title in zip(cells, widths[2:], HEADER[2:], strict=True)
    ]
    yield "  ".join([_marked(mark, widths[0]) + path.ljust(widths[1]), *cells]).rstrip()


def _marked(mark: str, width: int) -> str:
    return f"{mark.ljust(width)} " if width else ""


def _shortened(type_: str, room: int) -> str:
    """A class's name may lose its end, but not how many modules there are of it."""
    name, gap, times = type_.partition(" ")
    over = len(type_) - room
    return f"{name[: -over - 1]}…{gap}{times}" if over > 0 else type_


@dataclass(frozen=True)
class _Node:
    """A module and those in it, as they run."""

    row: "ModuleRow"
    inside: list["_Node"]

    @property
    def kind(self) -> str:
        """Equal for modules that are built alike."""
        return f"{self.row.type}({','.join(node.kind for node in self.inside)})"


def _nodes(rows: Sequence["ModuleRow"]) -> list[_Node]:
    """The topmost modules, with those in them."""
    nodes: dict[str, _Node] = {}
    tops: list[_Node] = []
    for row in rows:
        node = nodes[row.path] = _Node(row, [])
        above = row.path
        while above and (above == row.path or above not in nodes):
            above = above.rpartition(".")[0]
        (nodes[above].inside if above else tops).append(node)
    return tops


def _below(nodes: Sequence[_Node], shown: set[str]) -> Iterator[_Line]:
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


def _line(nodes: Sequence[_Node]) -> _Line:
    first, last = nodes[0].row, nodes[-1].row
    many = len(nodes) > 1
    output = _shape(last.output)
    parameters = sum(node.row.parameters for node in nodes)
    return (
        "*" if first.candidate else "",
        f"{first.path} … {last.path.rpartition('.')[2]}" if many else first.path,
        f"{first.type} x {len(nodes)}" if many else first.type,
        output if first.output == last.output else f"… {output}",
        f"{parameters:,}" if parameters else "",
        "" if first.state == "none" else first.state,
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    """B stands for the batch; windows of an image are a multiple of it."""
    from embedtune_trainer.embedder.trace import BATCH

    if not shape:
        return "" if shape is None else "()"
    times, rest = divmod(shape[0], BATCH)
    batch = str(shape[0]) if rest or not times else "B" if times == 1 else f"{times}B"
    return " x ".join([batch, *map(str, shape[1:])])
