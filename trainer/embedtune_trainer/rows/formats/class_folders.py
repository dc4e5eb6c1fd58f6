"""A folder with a subfolder for each class, and the class's images in it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Final

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.columns.blobs import PackedTexts
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.images import IMAGE_ENDINGS
from embedtune_trainer.rows.records import Record, Stream

SYSTEM_FILES: Final = frozenset(("thumbs.db", "desktop.ini"))


def open_class_folders(
    path: Path, dataset: Dataset, faults: Faults, scratch: Path | None
) -> Stream:
    """Open a folder; classes and their images come by name.

    Hidden files, and those that Windows leaves, are no data. Where there are very many, their names
    lie in a file in `scratch`.

    Raises:
        BadData: it is no folder.
    """
    if not path.is_dir():
        raise BadData(f"{dataset.uri}: is a file; images by class lie in a folder: CLASS/file.png")
    files = PackedTexts.of((os.path.relpath(file, path) for file in _files(path)), scratch)

    def records(columns: Sequence[int]) -> Iterator[Record]:
        for row, name in enumerate(files, 1):
            file = path / name
            parts = PurePath(name).parts
            if len(parts) < 2:
                faults.add(place(row, 0), "lies beside the classes' folders; put it into one")
            elif file.suffix.lower() not in IMAGE_ENDINGS:
                faults.add(
                    place(row, 0),
                    f"is no image by its name, which ends in none of"
                    f" {', '.join(sorted(IMAGE_ENDINGS))}; remove it",
                )
            else:
                cells = (file, parts[0])
                yield Record([cells[i] for i in columns], row)

    def place(row: int, _: int) -> str:
        return PurePath(files[row - 1]).as_posix()

    return Stream(("image", "label"), 2, records, "images", place)


def _files(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = (n for n in names if not n.startswith(".") and n.lower() not in SYSTEM_FILES)
        yield from (os.path.join(here, name) for name in sorted(shown))
