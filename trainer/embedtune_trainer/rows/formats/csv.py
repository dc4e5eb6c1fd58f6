"""CSV files (RFC 4180) as records.

The reading is strict: what is not well-formed ends the run with the file, the row and the column.
Delimiter and encoding are what the spec, the file's name or a BOM says, never a guess from a
sample, which a later row may prove wrong.
"""

import codecs
import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TextIO

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.messages import listed
from embedtune_trainer.rows.records import Record, Stream, place

TAB_ENDINGS: Final = (".tsv", ".tab")
CHUNK_BYTES: Final = 2**20


def open_csv(
    path: Path,
    dataset: Dataset,
    field: str,
    faults: Faults,
    is_header: Callable[[Sequence[str]], bool],
) -> Stream:
    """Open one CSV file.

    Args:
        path: the file on this machine.
        dataset: how to read it.
        field: the dataset's path in the spec, for messages.
        faults: told of rows that are ragged or blank.
        is_header: whether these cells, the first row's, name the columns.

    Raises:
        BadSpec: an option cannot be used.
        BadData: the file is empty, not in the encoding, or its header is wrong.
    """
    source, delimiter = dataset.uri, _delimiter(dataset, field)
    encoding = _encoding(path, dataset, field)
    stream = path.open(encoding=encoding, newline="")
    rows = _rows(stream, delimiter, source, faults)
    first = next(rows, None)
    if first is None:
        raise BadData(f"{source}: no rows: the file is empty")
    names = _names(first, source) if is_header(first[0]) else None
    width = len(first[0])

    def records(columns: Sequence[int]) -> Iterator[Record]:
        everything = list(columns) == list(range(width))
        if names is None:
            yield Record([first[0][i] for i in columns], *first[1:])
        for cells, row, line in rows:
            if len(cells) != width:
                faults.add(place(row, line), _ragged(cells, width, delimiter))
            else:
                yield Record(cells if everything else [cells[i] for i in columns], row, line)

    return Stream(names, width, records, "csv", first=first[0])


def _names(first: tuple[list[str], int, int], source: str) -> tuple[str, ...]:
    names = tuple(cell.strip() for cell in first[0])
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise BadData(f"{source}: row 1: the header names {listed(repeated)} more than once")
    return names


def _delimiter(dataset: Dataset, field: str) -> str:
    given = dataset.csv.delimiter
    if given is None:
        return "\t" if PurePosixPath(dataset.uri).suffix.lower() in TAB_ENDINGS else ","
    if given in '"\r\n\0':
        raise BadSpec(f"{field}.csv.delimiter: {given!r} cannot separate cells")
    return given


def _encoding(path: Path, dataset: Dataset, field: str) -> str:
    """The name of the codec that all of the file has been tried with."""
    given, where = dataset.csv.encoding, f"{field}.csv.encoding"
    try:
        codec = codecs.lookup(given)
    except LookupError:
        raise BadSpec(f"{where}: {given!r} is not a known encoding, such as latin-1") from None
    if not codec._is_text_encoding:
        raise BadSpec(f"{where}: {given!r} is not an encoding of text, such as latin-1")
    name = "utf-8-sig" if codec.name == "utf-8" else given
    try:
        with path.open(encoding=name, newline="") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                if "\0" in chunk:
                    raise _nul(path, name, dataset.uri, given, where)
    except UnicodeError:
        raise _undecodable(path, name, dataset.uri, given, where) from None
    return name


def _nul(path: Path, name: str, source: str, given: str, where: str) -> BadData:
    with path.open(encoding=name, newline="\n") as stream:
        line = next(number for number, text in enumerate(stream, 1) if "\0" in text)
    return BadData(
        f"{source}: line {line}: holds a NUL character, so this is not a text file in {given};"
        f" set {where} (utf-16 has many NULs)"
    )


def _undecodable(path: Path, name: str, source: str, given: str, where: str) -> BadData:
    data = path.read_bytes()
    try:
        data.decode(name)
    except UnicodeDecodeError as error:
        # utf-8-sig counts from behind the BOM
        start = error.start + len(data) - len(error.object)
        return BadData(
            f"{source}: line {data.count(10, 0, start) + 1}, byte {start}:"
            f" {data[start : start + 1]!r} is not {given}; save the file as utf-8, or set"
            f" {where} to what it is, for example cp1252"
        )
    except UnicodeError as error:
        return BadData(f"{source}: is not {given} ({error}); set {where}")
    return BadData(f"{source}: changed while it was read")


def _rows(
    stream: TextIO, delimiter: str, source: str, faults: Faults
) -> Iterator[tuple[list[str], int, int]]:
    """Cells, row and line; blank lines are allowed at the end only."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    blank: list[tuple[int, int]] = []
    row = 0
    with stream:
        while True:
            row += 1
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise BadData(
                    f"{source}: {place(row, line)}: {_csv_error(error, delimiter)}"
                ) from None
            if not cells:
                blank.append((row, line))
                continue
            for where in blank:
                faults.add(place(*where), "the row is blank; remove it or fill it")
            blank.clear()
            yield cells, row, line


def _csv_error(error: csv.Error, delimiter: str) -> str:
    if "unexpected end of data" in str(error):
        return 'a double quote opens a cell here that is never closed; close it, or write " as ""'
    if "expected after" in str(error):
        return (
            f"a closing quote is not followed by the delimiter {delimiter!r} or the line's end;"
            ' write a double quote within a quoted cell as ""'
        )
    return str(error)


def _ragged(cells: list[str], width: int, delimiter: str) -> str:
    quoted = any(cell.startswith(' "') for cell in cells)
    hint = " (a quote counts only where it is the cell's first character)" if quoted else ""
    return (
        f"{len(cells)} cells where {width} are expected: {listed(cells)}; put a cell that holds"
        f" {delimiter!r} in double quotes{hint}"
    )
