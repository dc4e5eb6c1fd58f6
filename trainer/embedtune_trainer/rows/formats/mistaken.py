"""Files that are not what their names say, told by their first bytes."""

from pathlib import Path
from typing import Final

from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.formats.compressed import HEAD_BYTES, head_of
from embedtune_trainer.rows.formats.folder import Format

_SAVE_AS: Final = "save its table as CSV"
_KNOWN: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"PAR1", "a Parquet file", "set {field}.format to parquet"),
    (b"ARROW1", "an Arrow file", "save it as Parquet, and set {field}.format to parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream", "set {field}.format to datasets"),
    (b"PK\x03\x04", "a zip archive, as Excel's .xlsx files are", f"unpack it, or {_SAVE_AS}"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a file of an old Excel", _SAVE_AS),
    (b"SQLite format 3\x00", "an SQLite database", _SAVE_AS),
    (b"\x89HDF\r\n", "an HDF5 file", _SAVE_AS),
    (b"\x1f\x8b", "packed by gzip", "unpack it; Parquet is compressed within"),
    (b"%PDF-", "a PDF", "name a file of rows"),
    (b"\x89PNG\r\n", "an image", "name a file of rows; format images reads folders by class"),
    (b"\xff\xd8\xff", "an image", "name a file of rows; format images reads folders by class"),
    (b"\x80\x04", "a pickle", "it can run any code when it is read; save it as Parquet"),
)
"""First bytes, what such a file is, and what to do."""
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_PARQUET: Final = b"PAR1"


def refuse_mistaken(file: Path, kind: Format, source: str, field: str, encoding: str) -> None:
    """Refuse a file that is plainly of another kind than the one it is about to be read as.

    Args:
        file: on this machine.
        kind: csv, jsonl and parquet are looked at, others tell themselves.
        source: what messages call the data.
        field: the dataset's path in the spec.
        encoding: of a CSV file.

    Raises:
        BadData: it is; with what to do.
    """
    if kind not in ("csv", "jsonl", "parquet"):
        return
    if kind == "parquet":
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        if head and not head.startswith(_PARQUET):
            raise _refused(file, kind, source, *_described(head, field))
        return
    head = head_of(file, source)
    if kind == "csv" and head.startswith(_UTF_16) and encoding.replace("-", "") == "utf8":
        raise BadData(
            f"{source}: {file.name} is text in utf-16 by its first bytes; set"
            f" {field}.csv.encoding to utf-16, or save it as utf-8"
        )
    if any(head.startswith(magic) for magic, _, _ in _KNOWN):
        raise _refused(file, kind, source, *_described(head, field))


def _described(head: bytes, field: str) -> tuple[str, str]:
    for magic, what, to_do in _KNOWN:
        if head.startswith(magic):
            return what, to_do.format(field=field)
    try:
        text = head.decode("utf-8", "strict" if head.isascii() else "ignore")
    except UnicodeDecodeError:
        text = ""
    if text and all(c.isprintable() or c.isspace() for c in text):
        found = "jsonl" if text.lstrip().startswith("{") else "csv"
        return f"text that begins with {text[:20]!r}", f"set {field}.format, perhaps to {found}"
    return f"something that begins with {head[:8]!r}", f"set {field}.format to what it is"


def _refused(file: Path, kind: str, source: str, what: str, to_do: str) -> BadData:
    return BadData(f"{source}: {file.name} is read as {kind}, but is {what}; {to_do}")
