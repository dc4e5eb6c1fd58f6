"""Records in chunks, and the check of a chunk: what is wrong is told in the file's order."""

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from embedtune_trainer.errors import TrainerError
from embedtune_trainer.rows import cells as read
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.layout import Column
from embedtune_trainer.rows.messages import listed
from embedtune_trainer.rows.records import Cell, Record, Stream

CHUNK_ROWS: Final = 65_536
CHUNK_BYTES: Final = 2**23
"""Most rows, and about the most characters or bytes, that are Python's objects at a time."""
LISTED_BYTES: Final = 32
"""A number in a list, as Python has it."""
LONG_CELL: Final = 512
"""Characters; longer cells hold the image itself."""
_Value = TypeVar("_Value")


@dataclass
class Chunk:
    """Some rows that follow each other.

    Attributes:
        columns: their cells, by column.
        rows: the rows' numbers.
        lines: the lines that they begin on.
        size_bytes: about what the cells take.
    """

    columns: list[list[Cell]]
    rows: "array[int]" = field(default_factory=lambda: array("q"))
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    size_bytes: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def full(self) -> bool:
        """Whether it is time for the next one."""
        return len(self.rows) >= CHUNK_ROWS or self.size_bytes >= CHUNK_BYTES

    def add(self, record: Record, keep: Callable[[int, bytes], Cell]) -> None:
        """Append a row; see chunks for `keep`."""
        for number, (cell, column) in enumerate(zip(record.cells, self.columns, strict=True)):
            if type(cell) is str:
                column.append(cell)
                self.size_bytes += len(cell)
            elif isinstance(cell, bytes):
                column.append(keep(number, cell))
                self.size_bytes += sys.getsizeof(column[-1])
            else:
                column.append(cell)
                if isinstance(cell, list):
                    self.size_bytes += LISTED_BYTES * len(cell)
                elif isinstance(cell, np.ndarray):
                    self.size_bytes += cell.nbytes
        self.rows.append(record.row)
        self.lines.append(record.line)


def chunks(
    records: Iterator[Record], width: int, keep: Callable[[int, bytes], Cell]
) -> Iterator[Chunk]:
    """All records; where they end in an error, that comes after the rows before it.

    Args:
        records: rows of `width` cells.
        width: number of columns.
        keep: what stands for bytes in the column of that number.
    """
    chunk = Chunk([[] for _ in range(width)])
    try:
        for record in records:
            chunk.add(record, keep)
            if chunk.full:
                yield chunk
                chunk = Chunk([[] for _ in range(width)])
    except TrainerError:
        if len(chunk):
            yield chunk
        raise
    if len(chunk):
        yield chunk


class Checked:
    """A chunk while it is checked: the first wrong cell of each row is remembered."""

    def __init__(self, stream: Stream, chunk: Chunk, faults: Faults) -> None:
        self._stream = stream
        self._chunk = chunk
        self._faults = faults
        self._wrong: dict[int, tuple[str, str, type[TrainerError]]] = {}
        self._end = len(chunk)

    def values(
        self, number: int, column: Column, convert: Callable[[Cell], _Value]
    ) -> list[_Value]:
        """A column's values; what stands for a wrong one is not to be used.

        Where a wrong row ends the run, the columns behind are only looked at before it, so that
        the first such row is the one that is told.
        """
        out: list[_Value] = []
        cells = self._chunk.columns[number]
        for index in range(self._end):
            try:
                out.append(convert(cells[index]))
            except read.Unfit as unfit:
                out.append(None)  # type: ignore[arg-type]
                self._wrong.setdefault(index, (column.name, self._told(unfit, index), unfit.kind))
                if not self._faults.skips:
                    self._end = index
                    break
        return out

    def cells(self, number: int) -> Sequence[Cell]:
        """A column as it was read."""
        return self._chunk.columns[number]

    def name(self, index: int, number: int, column: Column) -> str:
        """What messages call an image, long after it was read."""
        cell = self._chunk.columns[number][index]
        name = f"{self._faults.source}: {self._where(index, column.name)}"
        return f"{name}: {cell}" if isinstance(cell, str) and len(cell) < LONG_CELL else name

    def right(self) -> Sequence[int]:
        """The indices of the rows that are right; the others are told.

        Raises:
            TrainerError: a row is wrong, and such rows are not skipped.
        """
        for index, (name, what, kind) in sorted(self._wrong.items()):
            self._faults.add(self._where(index, name), what, kind)
        every = range(len(self._chunk))
        return [i for i in every if i not in self._wrong] if self._wrong else every

    def _where(self, index: int, column: str) -> str:
        row, line = self._chunk.rows[index], self._chunk.lines[index]
        return f"{self._stream.place(row, line)}, column {column}"

    def _told(self, unfit: read.Unfit, index: int) -> str:
        if not isinstance(unfit, read.Blank):
            return str(unfit)
        row: list[Any] = [column[index] for column in self._chunk.columns]
        return f"{unfit}, the row holds {listed(row)}; fill it or remove the row"
