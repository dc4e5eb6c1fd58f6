"""Records to rows: every cell checked, wrong ones told with their place, nothing dropped."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from sys import intern
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.errors import BadData, TrainerError
from embedtune_trainer.rows import cells as read
from embedtune_trainer.rows.faults import MOST_SKIPPED, Faults
from embedtune_trainer.rows.images import Image, ImageReader
from embedtune_trainer.rows.layout import Column, Layout, Wanted
from embedtune_trainer.rows.messages import listed
from embedtune_trainer.rows.records import Cell, Stream
from embedtune_trainer.rows.table import (
    Images,
    Items,
    LabelledRows,
    Modality,
    PairRows,
    Rows,
    Skipped,
    Texts,
    Vectors,
)

LONG_CELL: Final = 512
"""Characters; longer cells hold the image itself."""
_Value = TypeVar("_Value")


@dataclass
class Gathered:
    """The cells of the columns that are needed, and where their rows stand."""

    columns: list[list[Cell]]
    rows: "array[int]" = field(default_factory=lambda: array("q"))
    lines: "array[int]" = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.rows)


def build(
    stream: Stream,
    layout: Layout,
    wanted: Wanted,
    faults: Faults,
    images: ImageReader,
    limit: int | None = None,
) -> tuple[Rows, Layout]:
    """The rows, and the layout with its columns in order.

    Raises:
        BadData: a cell is wrong, or there are no rows.
    """
    gathered = _gather(stream, layout, wanted, images, limit)
    if not layout.ordered:
        layout, gathered = _in_order(layout, gathered, faults.source, images)
    checked = _Checked(stream, gathered, faults)
    vector = read.VectorReader()
    items = [
        _items(checked, number, column, _modality(wanted, number), images, vector)
        for number, column in enumerate(layout.items)
    ]
    behind = len(items)
    labels = checked.values(behind, layout.label, read.label) if layout.label else []
    scores = checked.values(behind, layout.score, read.score) if layout.score else []
    kept, skipped = checked.finish()
    if not kept:
        raise BadData(f"{faults.source}: no rows: " + _nothing(stream, skipped))
    if len(kept) < len(gathered):
        items = [column.take(kept) for column in items]
        labels, scores = [labels[i] for i in kept if labels], [scores[i] for i in kept if scores]
    if layout.kind == "labelled":
        names = [intern(name) for name in labels]
        return LabelledRows(items[0], names, faults.source, skipped), layout
    left, right, *negatives = items
    scores_N = np.array(scores, dtype=np.float64) if layout.score else None
    return PairRows(left, right, faults.source, tuple(negatives), scores_N, skipped), layout


def _nothing(stream: Stream, skipped: Skipped) -> str:
    if skipped.count:
        return f"all {skipped.count} are wrong"
    if stream.format == "csv":
        return "the file holds a header and nothing else"
    return "it holds none"


def _gather(
    stream: Stream, layout: Layout, wanted: Wanted, images: ImageReader, limit: int | None
) -> Gathered:
    gathered = Gathered([[] for _ in layout.columns])
    pictures = [
        number
        for number in range(len(layout.items))
        if layout.ordered and _modality(wanted, number) == "image"
    ]
    records = stream.records([column.at for column in layout.columns])
    appends = [column.append for column in gathered.columns]
    for cells, row, line in islice(records, limit):
        for append, cell in zip(appends, cells, strict=True):
            append(cell)
        gathered.rows.append(row)
        gathered.lines.append(line)
        for number in pictures:
            cell = cells[number]
            if isinstance(cell, bytes):
                gathered.columns[number][-1] = images.keep(cell)
    return gathered


def _modality(wanted: Wanted, number: int) -> Modality:
    return wanted.left if number == 0 else wanted.right


def _in_order(
    layout: Layout, gathered: Gathered, source: str, images: ImageReader
) -> tuple[Layout, Gathered]:
    """Text first: the images are in the column that has more of what names an image.

    Raises:
        BadData: both have as many.
    """
    first, second = (sum(map(images.looks_like_image, column)) for column in gathered.columns)
    if first == second and len(gathered):
        raise BadData(
            f"{source}: cannot tell which column is the image: in {first} of {len(gathered)} rows"
            " the first cell names one, in as many the second; add a header text,image"
        )
    items, columns = layout.items, gathered.columns
    if first > second:
        items, columns = items[::-1], columns[::-1]
    names = ("text", "image")
    items = tuple(
        Column(column.at, f"{column.name} ({name})")
        for column, name in zip(items, names, strict=True)
    )
    return replace(layout, items=items, ordered=True), replace(gathered, columns=columns)


class _Checked:
    """Columns while they are checked: the first wrong cell of each row is remembered."""

    def __init__(self, stream: Stream, gathered: Gathered, faults: Faults) -> None:
        self._stream = stream
        self._gathered = gathered
        self._faults = faults
        self._wrong: dict[int, tuple[str, str, type[TrainerError]]] = {}
        self._end = len(gathered)

    def values(
        self, number: int, column: Column, convert: Callable[[Cell], _Value]
    ) -> list[_Value]:
        """A column's values; what stands for a wrong one is not to be used.

        Where a wrong row ends the run, the columns behind are only looked at before it, so that
        the first such row is the one that is told.
        """
        out: list[_Value] = []
        cells = self._gathered.columns[number]
        most = MOST_SKIPPED * len(cells)
        for index in range(self._end):
            try:
                out.append(convert(cells[index]))
            except read.Unfit as unfit:
                out.append(None)  # type: ignore[arg-type]
                self._wrong.setdefault(index, (column.name, self._told(unfit, index), unfit.kind))
                if not self._faults.skips:
                    self._end = index
                if not self._faults.skips or len(self._wrong) > most:
                    break
        return out + [None] * (len(cells) - len(out))  # type: ignore[list-item]

    def cells(self, number: int) -> list[Cell]:
        """A column as it was read."""
        return self._gathered.columns[number]

    def where(self, index: int, column: Column) -> str:
        """What messages call a cell."""
        row, line = self._gathered.rows[index], self._gathered.lines[index]
        return f"{self._stream.place(row, line)}, column {column.name}"

    def name(self, index: int, column: Column, cell: Cell) -> str:
        """What messages call an image, long after it was read."""
        name = f"{self._faults.source}: {self.where(index, column)}"
        return f"{name}: {cell}" if isinstance(cell, str) and len(cell) < LONG_CELL else name

    def finish(self) -> tuple[Sequence[int], Skipped]:
        """The indices of the rows that are right, and what is said of the others.

        Raises:
            BadData: a row is wrong, and such rows are not skipped; or too many are.
        """
        total = len(self._gathered) + self._faults.count
        for index, (name, what, kind) in sorted(self._wrong.items()):
            self._faults.add(self.where(index, Column(0, name)), what, kind)
        skipped = self._faults.finish(total)
        every = range(len(self._gathered))
        return ([i for i in every if i not in self._wrong] if self._wrong else every), skipped

    def _told(self, unfit: read.Unfit, index: int) -> str:
        if not isinstance(unfit, read.Blank):
            return str(unfit)
        row = [column[index] for column in self._gathered.columns]
        return f"{unfit}, the row holds {listed(row)}; fill it or remove the row"


def _items(
    checked: _Checked,
    number: int,
    column: Column,
    modality: Modality,
    images: ImageReader,
    vector: read.VectorReader,
) -> Items:
    if modality == "text":
        return Texts(checked.values(number, column, read.text))
    if modality == "vector":
        return _stacked(checked.values(number, column, vector))
    cells = checked.cells(number)
    images.prepare(cells)
    values: list[Image] = checked.values(number, column, images)
    names = [checked.name(i, column, cell) for i, cell in enumerate(cells)]
    return Images(values, names)


def _stacked(values: list[NDArray[np.float32]]) -> Vectors:
    dim = next((len(value) for value in values if value is not None), 0)
    values_ND = np.zeros((len(values), dim), dtype=np.float32)
    for index, value in enumerate(values):
        if value is not None:
            values_ND[index] = value
    return Vectors(values_ND)
