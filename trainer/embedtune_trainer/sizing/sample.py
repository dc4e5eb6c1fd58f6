"""A look at the data: how large it is, and some of its rows.

Rows are read where that is cheap: files on this machine, and others up to FETCH_MOST.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from embedtune_api.spec import Dataset
from embedtune_trainer.datafiles import DataFiles, about
from embedtune_trainer.errors import AccessDenied, SourceNotFound
from embedtune_trainer.rows.table import Images, Items, LabelledRows, Rows, Texts
from embedtune_trainer.sources.storage import Store

FETCH_MOST: Final = 64 * 2**20
"""Bytes of a dataset that is fetched to look at it."""
ROWS: Final = 4096
"""Rows that are read, of texts and vectors."""
PICTURES: Final = 64
"""Of images, which may have to be fetched one by one."""
HERE: Final = ("file://", "pvc://")


@dataclass(frozen=True)
class Sample:
    """What was found of one dataset.

    Attributes:
        rows: some of them; None: none were read.
        count: of all rows, about; None: not known.
        size_bytes: of all files; None: not known.
        note: what was found how, for a person.
    """

    rows: Rows | None
    count: int | None
    size_bytes: int | None
    note: str


def sample(store: Store, files: DataFiles, dataset: Dataset, place: str, images: bool) -> Sample:
    """Look at a dataset.

    Args:
        store: where it is.
        files: reads it.
        dataset: as in the spec.
        place: where it stands there, for messages.
        images: whether its rows hold any.

    Raises:
        SourceNotFound: there is nothing.
        BadData: what was read of it is wrong.
    """
    with about(f"{place}.uri"):
        sizes = sizes_of(store, dataset.uri)
    size_bytes = sum(sizes.values()) if sizes is not None else None
    cheap = size_bytes is not None and size_bytes <= FETCH_MOST
    if not cheap and not dataset.uri.startswith(HERE):
        told = "of unknown size" if size_bytes is None else f"{size_bytes / 2**20:,.0f} MiB"
        pictures = _at_most(_files(sizes) if images else None, dataset)
        return Sample(None, pictures, size_bytes, f"{place}: {told}, not looked at")
    most = PICTURES if images else ROWS
    limit = min(most, dataset.limit or most)
    rows = files.read(dataset.model_copy(update={"limit": limit}), place).rows
    count: int | None = len(rows)
    if len(rows) >= limit:
        count = _at_most(_estimated(rows, sizes, size_bytes), dataset)
    told = f"{len(rows):,}" if count == len(rows) else f"about {count:,}" if count else "many"
    return Sample(rows, count, size_bytes, f"{place}: {told} rows")


def columns_of(rows: Rows) -> tuple[Items, ...]:
    """What of a row is encoded."""
    if isinstance(rows, LabelledRows):
        return (rows.items,)
    return (rows.left, rows.right, *rows.negatives)


def sizes_of(store: Store, uri: str) -> Mapping[str, int] | None:
    """Bytes of the file, or of every file in the folder, by name; None if that is not told.

    Raises:
        SourceNotFound: there is neither.
    """
    try:
        if (path := uri.removeprefix("file://")) != uri and Path(path).is_file():
            return {"": Path(path).stat().st_size}
        found = store.sizes(uri)
        if found or uri.startswith("hf://"):
            return found
        folder, _, name = uri.rstrip("/").rpartition("/")
        beside = store.sizes(folder)
    except AccessDenied:  # to list what is there is another right than to read it
        return None
    if name not in beside:
        raise SourceNotFound(f"{uri}: there is no such file, and no folder")
    return {name: beside[name]}


def _estimated(rows: Rows, sizes: Mapping[str, int] | None, size_bytes: int | None) -> int | None:
    """How many there are, by their size."""
    columns = columns_of(rows)
    if any(isinstance(items, Images) for items in columns):
        return _files(sizes)
    if size_bytes is None:
        return None
    row_bytes = sum(map(_mean_bytes, columns))
    return max(len(rows), int(size_bytes / max(1.0, row_bytes)))


def _files(sizes: Mapping[str, int] | None) -> int | None:
    """How many there are, if each is an image; None where one holds them all."""
    return len(sizes) if sizes is not None and len(sizes) > 1 else None


def _mean_bytes(items: Items) -> float:
    """Of one as a file has it."""
    if isinstance(items, Texts):
        return float(np.mean([len(text.encode("utf-8", "replace")) for text in items.values])) + 4
    return 8.0 * items.values_ND.shape[1] if not isinstance(items, Images) else 0.0


def _at_most(count: int | None, dataset: Dataset) -> int | None:
    return count if count is None or dataset.limit is None else min(count, dataset.limit)
