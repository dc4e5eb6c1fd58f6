"""The bytes of a saved DocumentArray: its compression, and the frames of single documents."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from embedtune_trainer.errors import BadData


def _lz4(data: bytes) -> bytes:
    import lz4.frame  # type: ignore[import-untyped]

    return lz4.frame.decompress(data)  # type: ignore[no-any-return]


_MAGIC: Final[tuple[tuple[bytes, str, Callable[[bytes], bytes]], ...]] = (
    (b"\x04\x22\x4d\x18", "lz4", _lz4),
    (b"\x1f\x8b", "gzip", gzip.decompress),
    (b"BZh", "bz2", bz2.decompress),
    (b"\xfd7zXZ\x00", "lzma", lzma.decompress),
    (b"\x78", "zlib", zlib.decompress),
)
_PICKLE: Final = b"\x80"
_HEADER_BYTES: Final = 9
_LENGTH_BYTES: Final = 4


@dataclass(frozen=True)
class Container:
    """What a file holds, uncompressed.

    Attributes:
        kind: json (a list of documents), array (one protobuf message) or documents (a protobuf
            message each).
        parts: the list, the message, or the messages.
    """

    kind: Literal["json", "array", "documents"]
    parts: list[bytes]


def unpack(data: bytes, source: str) -> Container:
    """Take a file apart, by what its bytes say.

    Raises:
        BadData: it is a pickle, which could run any code; or is cut off, or something else.
    """
    try:
        whole, compression = decompress(data)
        if whole.startswith(_PICKLE):
            raise _pickled(source, "pickle-array", compression)
        if whole.lstrip()[:1] == b"[":
            return Container("json", [whole])
        if whole[:1] in (b"\x01", b"\x02"):
            return Container("documents", _frames(whole, source))
    except (OSError, EOFError, RuntimeError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise BadData(f"{source}: the file is cut off or damaged: {error}") from None
    return Container("array", [whole])


def decompress(data: bytes) -> tuple[bytes, str | None]:
    """The data, and how they were compressed."""
    for magic, name, decompressed in _MAGIC:
        if data.startswith(magic):
            return decompressed(data), name
    return data, None


def _frames(data: bytes, source: str) -> list[bytes]:
    """One byte of version, eight of the count, then each document behind four of its length."""
    count = int.from_bytes(data[1:_HEADER_BYTES], "big")
    parts: list[bytes] = []
    at = _HEADER_BYTES
    for _ in range(count):
        size = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        at += _LENGTH_BYTES
        if at + size > len(data):
            raise ValueError(f"{count} documents are announced, {len(parts)} are there")
        part, compression = decompress(data[at : at + size])
        if part.startswith(_PICKLE):
            raise _pickled(source, "pickle", compression)
        parts.append(part)
        at += size
    return parts


def _pickled(source: str, protocol: str, compression: str | None) -> BadData:
    name = PurePosixPath(source).name
    packed = f", compress='{compression}'" if compression else ""
    line = (
        f"from docarray import DocumentArray; DocumentArray.load_binary('{name}',"
        f" protocol='{protocol}'{packed}).save_binary('{name.partition('.')[0]}.protobuf',"
        " protocol='protobuf')"
    )
    return BadData(
        f"{source}: is a pickle, which can run any code when it is read; where you trust it,"
        f' convert it with: python -c "{line}"'
    )
