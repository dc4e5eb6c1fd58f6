"""Many byte strings in one array, and the texts that they spell."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.rows.columns.column import AT_ONCE, Chosen, Column, Indices, chosen
from embedtune_trainer.rows.columns.growing import Growing

LOSSLESS: Final = "surrogatepass"
"""How names of files that are no Unicode come through."""


class Blobs:
    """N byte strings.

    Attributes:
        data: what they are parts of.
        starts_N: where each begins.
        sizes_N: bytes of each.
        scratch: the folder for what is made of them and large.
    """

    def __init__(
        self,
        data: NDArray[np.uint8],
        starts_N: Indices,
        sizes_N: Indices,
        scratch: Path | None = None,
    ) -> None:
        self.data = data
        self._view = data.data
        self.starts_N = starts_N
        self.sizes_N = sizes_N
        self.scratch = scratch

    def __len__(self) -> int:
        return len(self.starts_N)

    def many(self, begin: int, end: int) -> list[memoryview]:
        """Those from `begin` up to `end`, none of them copied."""
        starts, sizes = self.starts_N[begin:end].tolist(), self.sizes_N[begin:end].tolist()
        data = self._view
        return [data[a : a + size] for a, size in zip(starts, sizes, strict=True)]

    def take(self, indices: Chosen) -> "Blobs":
        """These, in this order; the bytes stay where they are."""
        at = chosen(indices)
        return Blobs(self.data, self.starts_N[at], self.sizes_N[at], self.scratch)


class GrowingBlobs:
    """Byte strings that are appended to."""

    def __init__(self, scratch: Path | None = None) -> None:
        self._scratch = scratch
        self._data = Growing(np.uint8, scratch)
        self._sizes = Growing(np.int64, scratch)

    def extend(self, values: Sequence[bytes]) -> None:
        """Append these."""
        self._data.append_bytes(b"".join(values))
        self._sizes.extend(np.fromiter(map(len, values), np.int64, len(values)))

    def finish(self) -> Blobs:
        """All of them."""
        sizes_N = self._sizes.finish()
        starts = Growing(np.int64, self._scratch)
        at = 0
        for begin in range(0, len(sizes_N), AT_ONCE):
            ends = at + np.cumsum(sizes_N[begin : begin + AT_ONCE])
            starts.extend(ends - sizes_N[begin : begin + AT_ONCE])
            at = int(ends[-1])
        return Blobs(self._data.finish(), starts.finish(), sizes_N, self._scratch)


class PackedTexts(Column[str]):
    """N texts as UTF-8."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs

    @classmethod
    def of(cls, values: Iterable[str], scratch: Path | None = None) -> "PackedTexts":
        """These texts, packed unless they are already."""
        if isinstance(values, PackedTexts):
            return values
        growing = GrowingTexts(scratch)
        stream = iter(values)
        while part := list(islice(stream, AT_ONCE)):
            growing.extend(part)
        return growing.finish()

    @property
    def scratch(self) -> Path | None:
        """The folder for what is made of them and large."""
        return self.blobs.scratch

    def __len__(self) -> int:
        return len(self.blobs)

    def many(self, begin: int, end: int) -> list[str]:
        """See Column."""
        return [str(part, "utf-8", LOSSLESS) for part in self.blobs.many(begin, end)]

    def take(self, indices: Chosen) -> "PackedTexts":
        """These, in this order."""
        return PackedTexts(self.blobs.take(indices))


class GrowingTexts:
    """Texts that are appended to."""

    def __init__(self, scratch: Path | None = None) -> None:
        self._blobs = GrowingBlobs(scratch)

    def extend(self, values: Sequence[str]) -> None:
        """Append these."""
        for begin in range(0, len(values), AT_ONCE):
            part = values[begin : begin + AT_ONCE]
            self._blobs.extend([text.encode("utf-8", LOSSLESS) for text in part])

    def finish(self) -> PackedTexts:
        """All of them."""
        return PackedTexts(self._blobs.finish())
