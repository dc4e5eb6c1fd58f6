"""Where the images of many rows lie: their files' names, or parts of files, in two arrays."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from embedtune_trainer.rows.columns.blobs import Blobs, GrowingBlobs
from embedtune_trainer.rows.columns.column import AT_ONCE, Chosen, Column, Indices, chosen
from embedtune_trainer.rows.columns.growing import Growing

_WHOLE: Final = -1
_HERE: Final = -2
"""In place of an offset: all of a file, or the bytes themselves."""


@dataclass(frozen=True)
class FileSlice:
    """A file within an archive, so that the archive need not be unpacked."""

    path: Path
    offset: int
    size: int


Image = Path | FileSlice | bytes
"""An encoded image file: on this machine, a part of a file there, or in memory."""


class PackedImages(Column[Image]):
    """N encoded images.

    Attributes:
        places: paths, or the images' own bytes.
        offsets_N: where each begins in its file; below 0 for those that are no part of one.
        lengths_N: bytes of each part of a file.
    """

    def __init__(self, places: Blobs, offsets_N: Indices, lengths_N: Indices) -> None:
        self.places = places
        self.offsets_N = offsets_N
        self.lengths_N = lengths_N

    @classmethod
    def of(cls, values: Iterable[Image]) -> "PackedImages":
        """These images, packed unless they are already."""
        if isinstance(values, PackedImages):
            return values
        growing = GrowingImages()
        stream = iter(values)
        while part := list(islice(stream, AT_ONCE)):
            growing.extend(part)
        return growing.finish()

    def __len__(self) -> int:
        return len(self.places)

    def many(self, begin: int, end: int) -> list[Image]:
        """See Column."""
        offsets, lengths = self.offsets_N[begin:end].tolist(), self.lengths_N[begin:end].tolist()
        places = self.places.many(begin, end)
        return [_image(*one) for one in zip(places, offsets, lengths, strict=True)]

    def take(self, indices: Chosen) -> "PackedImages":
        """These, in this order."""
        at = chosen(indices)
        return PackedImages(self.places.take(at), self.offsets_N[at], self.lengths_N[at])


def _image(place: memoryview, offset: int, length: int) -> Image:
    data = bytes(place)
    if offset == _HERE:
        return data
    path = Path(os.fsdecode(data))
    return path if offset == _WHOLE else FileSlice(path, offset, length)


class GrowingImages:
    """Images that are appended to."""

    def __init__(self, scratch: Path | None = None) -> None:
        self._places = GrowingBlobs(scratch)
        self._offsets = Growing(np.int64, scratch)
        self._lengths = Growing(np.int64, scratch)

    def extend(self, values: Sequence[Image]) -> None:
        """Append these."""
        parts = [_parts(value) for value in values]
        self._places.extend([place for place, _, _ in parts])
        self._offsets.extend([offset for _, offset, _ in parts])
        self._lengths.extend([length for _, _, length in parts])

    def finish(self) -> PackedImages:
        """All of them."""
        return PackedImages(self._places.finish(), self._offsets.finish(), self._lengths.finish())


def _parts(value: Image) -> tuple[bytes, int, int]:
    if isinstance(value, bytes):
        return value, _HERE, 0
    if isinstance(value, FileSlice):
        return os.fsencode(value.path), value.offset, value.size
    return os.fsencode(value), _WHOLE, 0
