"""Records to rows: every cell checked, wrong ones told with their place, nothing dropped.

The records are gone through once, a chunk at a time, and what is right of each chunk goes out of
Python's heap at once, so that the memory does not grow with the file.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.errors import BadData
from embedtune_trainer.rows import cells as read
from embedtune_trainer.rows.chunks import Checked, chunks
from embedtune_trainer.rows.columns.blobs import GrowingTexts
from embedtune_trainer.rows.columns.growing import Growing
from embedtune_trainer.rows.columns.labels import GrowingLabels
from embedtune_trainer.rows.columns.pictures import GrowingImages, Image
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.images import ImageReader
from embedtune_trainer.rows.layout import Column, Layout, Wanted
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

Value = TypeVar("Value")
Value_contra = TypeVar("Value_contra", contravariant=True)


def build(
    stream: Stream,
    layout: Layout,
    wanted: Wanted,
    faults: Faults,
    images: ImageReader,
    limit: int | None = None,
    scratch: Path | None = None,
) -> Rows:
    """The rows.

    Args:
        stream: the file.
        layout: which column holds what, in order.
        wanted: what the model takes.
        faults: told of rows that are wrong.
        images: reads cells that are images.
        limit: most rows that are read.
        scratch: the folder for columns that are large.

    Raises:
        BadData: a cell is wrong, or there are no rows.
    """
    modalities = [modality(wanted, number) for number in range(len(layout.items))]
    items = [_reading_of(kind, images, scratch) for kind in modalities]
    labels, scores = GrowingLabels(scratch), Growing(np.float64, scratch)
    reading: list[_Reading[Any]] = [column for column, _ in items]
    reading += [_Reading(read.label, labels)] if layout.label else []
    score = read.score if len(items) == 2 else read.margin
    reading += [_Reading(score, scores)] if layout.score else []

    def keep(number: int, data: bytes) -> Cell:
        is_image = number < len(modalities) and modalities[number] == "image"
        return images.keep(data) if is_image else data

    kept = 0
    records = islice(stream.records([column.at for column in layout.columns]), limit)
    for chunk in chunks(records, len(reading), keep):
        checked = Checked(stream, chunk, faults)
        for number, (column, into) in enumerate(zip(layout.columns, reading, strict=True)):
            into.check(checked, number, column)
        right = checked.right()
        for into in reading:
            into.keep(right)
        kept += len(right)
    skipped = faults.finish(kept + faults.count)
    if not kept:
        raise BadData(f"{faults.source}: no rows: " + _nothing(stream, skipped))
    left, *others = (finish() for _, finish in items)
    if layout.label:
        return LabelledRows(left, labels.finish(), faults.source, skipped)
    right_items, *negatives = others
    scores_N = scores.finish() if layout.score else None
    scored = (None, scores_N) if negatives else (scores_N, None)
    return PairRows(
        left, right_items, faults.source, tuple(negatives), scored[0], skipped, scored[1]
    )


def build_items(
    stream: Stream,
    column: Column,
    kind: Modality,
    faults: Faults,
    images: ImageReader,
    scratch: Path | None = None,
) -> Items:
    """The items of one column, whatever else the rows hold.

    Args:
        stream: the file.
        column: that holds them.
        kind: what they are.
        faults: told of rows that are wrong.
        images: reads cells that are images.
        scratch: the folder for columns that are large.

    Raises:
        BadData: a cell is wrong, or there are no rows.
    """
    into, finish = _reading_of(kind, images, scratch)
    kept = 0
    records = stream.records([column.at])
    for chunk in chunks(records, 1, lambda _, b: images.keep(b) if kind == "image" else b):
        checked = Checked(stream, chunk, faults)
        into.check(checked, 0, column)
        right = checked.right()
        into.keep(right)
        kept += len(right)
    skipped = faults.finish(kept + faults.count)
    if not kept:
        raise BadData(f"{faults.source}: no rows: " + _nothing(stream, skipped))
    return finish()


def modality(wanted: Wanted, number: int) -> Modality:
    """Of the item in a row that has this number."""
    return wanted.left if number == 0 else wanted.right


def _nothing(stream: Stream, skipped: Skipped) -> str:
    if skipped.count:
        return f"all {skipped.count} are wrong"
    if stream.format == "csv":
        return "the file holds a header and nothing else"
    return "it holds none"


class _Into(Protocol[Value_contra]):
    def extend(self, values: Sequence[Value_contra], /) -> None: ...


class _Reading(Generic[Value]):
    """One column on its way: a chunk's cells are converted, then those of right rows are kept."""

    def __init__(self, convert: Callable[[Cell], Value], into: _Into[Value]) -> None:
        self._convert = convert
        self._into = into
        self._values: list[Value] = []

    def check(self, checked: Checked, number: int, column: Column) -> None:
        """Convert the cells of a chunk."""
        self._values = checked.values(number, column, self._convert)

    def keep(self, right: Sequence[int]) -> None:
        """Append the values of these rows of the chunk."""
        self._into.extend(_of(self._values, right))
        self._values = []


class _ReadingImages(_Reading[Image]):
    """A column of images, with what messages call each."""

    def __init__(self, images: ImageReader, into: GrowingImages, names: GrowingTexts) -> None:
        super().__init__(images, into)
        self._images = images
        self._names = names
        self._called: list[str] = []

    def check(self, checked: Checked, number: int, column: Column) -> None:
        """Download what is remote, then as for any column."""
        self._images.prepare(checked.cells(number))
        super().check(checked, number, column)
        self._called = [checked.name(i, number, column) for i in range(len(self._values))]

    def keep(self, right: Sequence[int]) -> None:
        """See _Reading."""
        super().keep(right)
        self._names.extend(_of(self._called, right))
        self._called = []


class _GrowingVectors:
    """Vectors of one length, appended to."""

    def __init__(self, scratch: Path | None) -> None:
        self._scratch = scratch
        self._numbers = Growing(np.float32, scratch)
        self._count = 0

    def extend(self, values: Sequence[NDArray[np.float32]]) -> None:
        """Append these."""
        if values:
            self._numbers.extend(np.stack(values))
            self._count += len(values)

    def finish(self) -> Vectors:
        """All of them."""
        return Vectors(self._numbers.finish().reshape(self._count, -1), self._scratch)


def _reading_of(
    kind: Modality, images: ImageReader, scratch: Path | None
) -> tuple[_Reading[Any], Callable[[], Items]]:
    """A column of items, and what makes items of it in the end."""
    if kind == "text":
        texts = GrowingTexts(scratch)
        return _Reading(read.text, texts), lambda: Texts(texts.finish())
    if kind == "vector":
        vectors = _GrowingVectors(scratch)
        return _Reading(read.VectorReader(), vectors), vectors.finish
    pictures, names = GrowingImages(scratch), GrowingTexts(scratch)
    column = _ReadingImages(images, pictures, names)
    return column, lambda: Images(pictures.finish(), names.finish())


def _of(values: list[Value], right: Sequence[int]) -> list[Value]:
    return values if len(right) == len(values) else [values[i] for i in right]
