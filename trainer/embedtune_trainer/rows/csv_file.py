"""Labelled rows out of a CSV file.

The reading is strict: what is not well-formed ends the run with the file, the row and the column,
and no row is ever dropped or changed on the way. Texts stay as they are, to the last character;
labels are trimmed at both ends and stay text.
"""

import codecs
import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.table import LabelledRows, Texts

LABEL_COLUMN: Final = "label"
ITEM_COLUMNS: Final = ("item", "text", "sentence", "question", "query", "title", "content")
TAB_ENDINGS: Final = (".tsv", ".tab")
CSV_ENDINGS: Final = (".csv", *TAB_ENDINGS)
SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True)
class _Record:
    cells: list[str]
    row: int
    line: int

    @property
    def where(self) -> str:
        return f"row {self.row}" + (f" (line {self.line})" if self.line != self.row else "")


@dataclass(frozen=True)
class _Columns:
    """Where in a record the text and the label stand, and what to call them in messages."""

    item: int
    label: int
    item_name: str
    label_name: str
    width: int


def read_rows(path: Path, dataset: Dataset, field: str = "spec.data.train") -> LabelledRows:
    """Read one data file.

    Args:
        path: the file on this machine.
        dataset: how to read it; its uri is what messages call the file.
        field: the dataset's path in the spec, for messages.

    Raises:
        BadSpec: the format cannot be told, or an option cannot be used.
        BadData: the file is not well-formed, with row, column and what to do.
    """
    delimiter = _delimiter(dataset, field)
    text = _decode(path.read_bytes(), dataset.uri, dataset.csv.encoding, f"{field}.csv.encoding")
    records = _records(text, delimiter, dataset.uri)
    first = next(records, None)
    if first is None:
        raise BadData(f"{dataset.uri}: no rows: the file is empty")
    columns, is_header = _columns(first, dataset, field)
    texts: list[str] = []
    labels: list[str] = []
    for record in _rest(first, is_header, records):
        item, label = _row(record, columns, dataset.uri, delimiter)
        texts.append(item)
        labels.append(label)
    if not texts:
        raise BadData(f"{dataset.uri}: no rows: the file holds a header and nothing else")
    return LabelledRows(Texts(texts), labels, dataset.uri)


def check_trainable(rows: LabelledRows) -> None:
    """Refuse rows that no triplet can be made of.

    Raises:
        BadData: only one class, or no class with two rows.
    """
    if len(rows.class_sizes) < 2:
        (label,) = rows.class_sizes
        raise BadData(
            f"{rows.source}: only one class: all {len(rows)} rows have the label"
            f" {_shown(label)}; a triplet needs a second class for its negative"
        )
    if max(rows.class_sizes.values()) < 2:
        raise BadData(
            f"{rows.source}: each of the {len(rows)} rows has a label of its own; a triplet needs"
            " two rows of one class"
        )


def _rest(first: _Record, is_header: bool, records: Iterator[_Record]) -> Iterator[_Record]:
    if not is_header:
        yield first
    yield from records


def _delimiter(dataset: Dataset, field: str) -> str:
    ending = PurePosixPath(dataset.uri).suffix.lower()
    if dataset.format == "auto" and ending not in CSV_ENDINGS:
        raise BadSpec(
            f"{field}.format: cannot be told from the name {dataset.uri}, which ends in none of"
            f" {', '.join(CSV_ENDINGS)}; set it to csv if that is what the file is"
        )
    given = dataset.csv.delimiter
    if given is None:
        return "\t" if ending in TAB_ENDINGS else ","
    if given in '"\r\n\0':
        raise BadSpec(f"{field}.csv.delimiter: {given!r} cannot separate cells")
    return given


def _decode(data: bytes, source: str, encoding: str, field: str) -> str:
    try:
        codec = codecs.lookup(encoding)
    except LookupError:
        raise BadSpec(f"{field}: {encoding!r} is not a known encoding, such as latin-1") from None
    if not codec._is_text_encoding:
        raise BadSpec(f"{field}: {encoding!r} is not an encoding of text, such as latin-1")
    try:
        text = data.decode("utf-8-sig" if codec.name == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        # utf-8-sig counts from behind the BOM
        start = error.start + len(data) - len(error.object)
        raise BadData(
            f"{source}: line {data.count(10, 0, start) + 1}, byte {start}:"
            f" {data[start : start + 1]!r} is not {encoding}; save the file as utf-8, or set"
            f" {field} to what it is, for example cp1252"
        ) from None
    except UnicodeError as error:
        raise BadData(f"{source}: is not {encoding} ({error}); set {field}") from None
    if (position := text.find("\0")) >= 0:
        raise BadData(
            f"{source}: line {text.count(chr(10), 0, position) + 1}: holds a NUL character, so"
            f" this is not a text file in {encoding}; set {field} (utf-16 has many NULs)"
        )
    return text


def _records(text: str, delimiter: str, source: str) -> Iterator[_Record]:
    """The file's records; blank lines are allowed at its end only."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    blank: _Record | None = None
    row = 0
    while True:
        row += 1
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where = _Record([], row, line).where
            raise BadData(f"{source}: {where}: {_csv_error(error, delimiter)}") from None
        if cells and blank:
            raise BadData(f"{source}: {blank.where}: the row is blank; remove it or fill it")
        if cells:
            yield _Record(cells, row, line)
        else:
            blank = blank or _Record([], row, line)


def _csv_error(error: csv.Error, delimiter: str) -> str:
    if "unexpected end of data" in str(error):
        return 'a double quote opens a cell here that is never closed; close it, or write " as ""'
    if "expected after" in str(error):
        return (
            f"a closing quote is not followed by the delimiter {delimiter!r} or the line's end;"
            ' write a double quote within a quoted cell as ""'
        )
    return str(error)


def _columns(first: _Record, dataset: Dataset, field: str) -> tuple[_Columns, bool]:
    """Where text and label stand, and whether the first record is a header."""
    options, given, source = dataset.csv, dataset.columns, dataset.uri
    named = given is not None
    if named and options.header == "absent":
        raise BadSpec(
            f"{field}.columns: names columns, but {field}.csv.header says there is no header"
        )
    has_label = any(cell.casefold() == LABEL_COLUMN for cell in first.cells)
    if options.header == "absent" or (options.header == "auto" and not named and not has_label):
        return _headerless(first, source, field), False
    names = [cell.strip() for cell in first.cells]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise BadData(f"{source}: row 1: the header names {_list(repeated)} more than once")
    if given is not None and given.item and given.label:
        item = _find(names, given.item, source, f"{field}.columns.item")
        label = _find(names, given.label, source, f"{field}.columns.label")
        if item == label:
            raise BadSpec(f"{field}.columns: item and label are the same column")
    else:
        label = _find_default(names, (LABEL_COLUMN,), source, field)
        item = _find_default(names, ITEM_COLUMNS, source, field)
    return _Columns(item, label, names[item], names[label], len(names)), True


def _headerless(first: _Record, source: str, field: str) -> _Columns:
    if len(first.cells) != 2:
        raise BadData(
            f"{source}: {first.where}: {len(first.cells)} cells, where a file without a header"
            f" has two, item,label; the row holds {_list(first.cells)}. If it names the columns,"
            f" set {field}.columns; if another character separates them, {field}.csv.delimiter"
        )
    return _Columns(item=0, label=1, item_name="1 (item)", label_name="2 (label)", width=2)


def _find(names: list[str], wanted: str, source: str, field: str) -> int:
    if wanted not in names:
        raise BadData(
            f"{source}: row 1: no column {_shown(wanted)}, which {field} asks for;"
            f" the header names {_list(names)}"
        )
    return names.index(wanted)


def _find_default(names: list[str], wanted: tuple[str, ...], source: str, field: str) -> int:
    found = [i for i, name in enumerate(names) if name.casefold() in wanted]
    if len(found) == 1:
        return found[0]
    what = "no column" if not found else "more than one column"
    raise BadData(
        f"{source}: row 1: {what} is called {' or '.join(wanted)}; the header names"
        f" {_list(names)}; say which column is which in {field}.columns"
    )


def _row(record: _Record, columns: _Columns, source: str, delimiter: str) -> tuple[str, str]:
    cells = record.cells
    if len(cells) != columns.width:
        quoted = any(cell.startswith(' "') for cell in cells)
        hint = " (a quote counts only where it is the cell's first character)" if quoted else ""
        raise BadData(
            f"{source}: {record.where}: {len(cells)} cells where {columns.width} are expected:"
            f" {_list(cells)}; put a cell that holds {delimiter!r} in double quotes{hint}"
        )
    item = cells[columns.item]
    label = cells[columns.label].strip()
    for value, name in ((item, columns.item_name), (label, columns.label_name)):
        if not value or value.isspace():
            raise BadData(
                f"{source}: {record.where}, column {name}: the cell is blank, the row holds"
                f" {_list(cells)}; fill it or remove the row"
            )
    return item, label


def _shown(text: str) -> str:
    cut = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
    return repr(cut)


def _list(texts: list[str]) -> str:
    shown = ", ".join(_shown(text) for text in texts[:8])
    return shown + (", …" if len(texts) > 8 else "")
