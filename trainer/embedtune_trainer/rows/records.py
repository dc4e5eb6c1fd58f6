"""A data file as records, before it is known what they mean: what every format is read into."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.rows.columns.pictures import FileSlice

Cell = str | bytes | bool | int | float | None | list[Any] | NDArray[np.generic] | Path | FileSlice
"""Text; an image's bytes or file; a number; a vector; None where nothing stands."""


class Record(NamedTuple):
    """One row.

    Attributes:
        cells: of the columns that were asked for, in that order.
        row: its number from 1, as people count; a header is a row.
        line: the line it begins on, where the format has lines of its own.
    """

    cells: Sequence[Cell]
    row: int
    line: int = 0


def place(row: int, line: int) -> str:
    """Where a record stands, for messages."""
    return f"row {row}" + (f" (line {line})" if line not in (0, row) else "")


@dataclass(frozen=True)
class Stream:
    """A data file that has been opened.

    Attributes:
        names: of the columns; None if the file has no header.
        width: number of columns.
        records: the rows with the cells of some columns, in their order; they can be gone through
            once.
        format: the format's name in the spec.
        place: where a record (row, line) stands, for messages.
        first: the first row, of a file without a header.
    """

    names: tuple[str, ...] | None
    width: int
    records: Callable[[Sequence[int]], Iterator[Record]]
    format: str
    place: Callable[[int, int], str] = place
    first: Sequence[str] = ()

    def column(self, index: int) -> str:
        """What messages call a column."""
        return self.names[index] if self.names else str(index + 1)


@dataclass(frozen=True)
class Placed:
    """A place within one of several files whose rows are numbered through.

    Attributes:
        labels: of the files.
        starts: the number of rows before each, growing while the files are read.
    """

    labels: list[str]
    starts: list[int]

    def __call__(self, row: int, line: int) -> str:
        """See Stream.place."""
        part = bisect_right(self.starts, row - 1) - 1
        return f"{self.labels[part]}, {place(row - self.starts[part], line)}"
