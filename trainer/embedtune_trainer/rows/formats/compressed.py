"""Files of lines that are compressed: told by their first bytes, unpacked while they are read."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from embedtune_trainer.errors import BadData

COMPRESSIONS: Final = (".gz", ".bz2", ".xz", ".zst")
"""Endings of files that are unpacked, behind the format's own."""
_BZ2_BLOCK: Final = b"1AY&SY"
HEAD_BYTES: Final = 32
BUFFER_BYTES: Final = 2**18


def ending_of(name: str, compressible: tuple[str, ...]) -> str:
    """A name's last ending, in lower case; that before a compression's where such are unpacked."""
    endings = [ending.lower() for ending in PurePosixPath(name).suffixes[-2:]]
    if len(endings) == 2 and endings[1] in COMPRESSIONS and endings[0] in compressible:
        return endings[0]
    return endings[-1] if endings else ""


@contextmanager
def opened(file: Path, source: str) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked if they are packed.

    Raises:
        BadData: what was packed is cut off or damaged; `source` is what messages call the file.
    """
    try:
        with file.open("rb") as raw, _unpacked(raw) as stream:
            yield stream
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadData(
            f"{source}: the compressed file is cut off or damaged: {error}; copy it again"
        ) from None


def head_of(file: Path, source: str) -> bytes:
    """The first bytes of what `opened` gives."""
    with opened(file, source) as stream:
        return stream.read(HEAD_BYTES)


def _unpacked(raw: BinaryIO) -> BinaryIO:
    head = raw.read(10)
    raw.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return _buffered(gzip.open(raw))
    if head.startswith(b"BZh") and head[4:] == _BZ2_BLOCK:
        return _buffered(bz2.open(raw))
    if head.startswith(b"\xfd7zXZ\x00"):
        return _buffered(lzma.open(raw))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa  # type: ignore[import-untyped]

        return _buffered(pa.CompressedInputStream(raw, "zstd"))
    return raw


def _buffered(unpacking: Any) -> BinaryIO:  # noqa: ANN401  streams of three libraries
    return BufferedReader(unpacking, BUFFER_BYTES)
