"""The items of a data file alone, for a model that is to encode them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.build import build_items
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.images import IMAGE_ENDINGS, ImageFetcher, ImageReader
from embedtune_trainer.rows.layout import DEFAULTS, ITEM_OF, Column
from embedtune_trainer.rows.messages import listed
from embedtune_trainer.rows.read import format_of, open_stream
from embedtune_trainer.rows.records import Stream
from embedtune_trainer.rows.table import Images, Items, Modality

OPTION: Final = "--column"
FIELD: Final = "spec.data.train"
"""What messages of the format are about; `embedtune encode` has options of the same names."""


def read_items(
    path: Path,
    dataset: Dataset,
    kind: Modality,
    column: str | None,
    fetch: ImageFetcher,
    scratch: Path,
) -> Items:
    """All items of one column, or all images of a folder, in the file's order.

    Args:
        path: the file or folder on this machine.
        dataset: how to read it; its uri is what messages call it.
        kind: what the items are.
        column: which holds them, by name or, where there is no header, by number from 1; None for
            the one that has a usual name, or the only one.
        fetch: gets images from elsewhere.
        scratch: the folder for what is large.

    Raises:
        BadSpec: the format cannot be told.
        BadData: the column cannot be told, or a row is wrong.
    """
    if path.is_dir() and kind == "image" and format_of(path, dataset, FIELD) == "images":
        found = _images_below(path)
        return Images([path / name for name in found], found)
    faults = Faults(dataset.uri, dataset.on_bad_row)

    def header(cells: Sequence[str]) -> bool:
        names = [cell.strip() for cell in cells]
        return column in names or bool(_usual(names, kind))

    stream = open_stream(path, dataset, FIELD, faults, scratch, header)
    if path.is_dir():
        images = ImageReader(path, None, fetch)
    else:
        images = ImageReader(path.parent, dataset.uri, fetch)
    chosen = _column(stream, kind, column, dataset.uri)
    return build_items(stream, chosen, kind, faults, images, scratch)


def _images_below(folder: Path) -> list[str]:
    """Relative names of all image files, sorted; hidden ones are left out."""
    found: list[str] = []
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            (Path(here) / name).relative_to(folder).as_posix()
            for name in names
            if Path(name).suffix.lower() in IMAGE_ENDINGS and not name.startswith(".")
        ]
    return sorted(found)


def _usual(names: Sequence[str], kind: Modality) -> list[int]:
    """The columns with a usual name for such items; one that means an item of any kind first."""
    wanted = (*ITEM_OF[kind], *(DEFAULTS["anchor"] if kind == "text" else ()))
    wanted += DEFAULTS["text"] if kind == "text" else ()
    return [at for at, name in enumerate(names) if name.casefold() in wanted]


def _column(stream: Stream, kind: Modality, given: str | None, source: str) -> Column:
    """The column that holds the items.

    Raises:
        BadData: it cannot be told.
    """
    if stream.names is None:
        if given is None and stream.width == 1:
            return Column(0, "1")
        if given is not None and given.isdecimal() and 1 <= int(given) <= stream.width:
            return Column(int(given) - 1, given)
        raise BadData(
            f"{source}: row 1: has {stream.width} cells and no header; say by {OPTION} which one to"
            f" encode, from 1; the row holds {listed(stream.first)}"
        )
    names = list(stream.names)
    if given is not None:
        if given not in names:
            raise BadData(
                f"{source}: no column {given!r}, which {OPTION} asks for; there are {listed(names)}"
            )
        return Column(names.index(given), given)
    found = [0] if len(names) == 1 else _usual(names, kind)
    if len(found) != 1:
        what = "no column has" if not found else "several columns have"
        raise BadData(
            f"{source}: {what} a usual name of a {kind} to encode; say which one by {OPTION}; there"
            f" are {listed(names)}"
        )
    return Column(found[0], names[found[0]])
