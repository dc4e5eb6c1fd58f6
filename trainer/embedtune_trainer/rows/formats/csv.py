"""CSV files (RFC 4180) as records.

The reading is strict: what is not well-formed ends the run with the file, the row and the column.
Delimiter and encoding are what the spec, the file's name or a BOM says, never a guess from a
sample, which a later row may prove wrong.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.formats.compressed import ending_of
from embedtune_trainer.rows.formats.encoding import Encoding
from embedtune_trainer.rows.messages import listed
from embedtune_trainer.rows.records import Placed, Record, Stream, place

TAB_ENDINGS: Final = (".tsv", ".tab")
LONGEST_CELL: Final = 2**25
"""Characters; what is longer mostly is the rest of a file behind a quote that is never closed."""
_UNCLOSED: Final = (
    'a double quote opens a cell here that is never closed; close it, or write " as ""'
)


class _Row(NamedTuple):
    cells: list[str]
    row: int
    line: int


def open_csv(
    files: Sequence[Path],
    dataset: Dataset,
    field: str,
    faults: Faults,
    is_header: Callable[[Sequence[str]], bool],
) -> Stream:
    """Open one CSV file, or several that are read one after the other as if they were one.

    Args:
        files: on this machine, in their order.
        dataset: how to read them.
        field: the dataset's path in the spec, for messages.
        faults: told of rows that are ragged or blank.
        is_header: whether these cells, the first row's, name the columns.

    Raises:
        BadSpec: an option cannot be used, or several files have no header without being said to.
        BadData: a file is empty, not in the encoding, or its header is wrong or another's.
    """
    encoding = Encoding(dataset, field)
    parts = [_Part(file, len(files) > 1, dataset, field, encoding) for file in files]
    first = parts[0].first()
    header = is_header(first)
    names = _names(first, dataset.uri) if header else None
    if len(files) > 1:
        _check_alike(files, [part.first() for part in parts], header, dataset, field)
    width = len(first)
    placed = Placed([file.name for file in files], [])

    def records(columns: Sequence[int]) -> Iterator[Record]:
        everything = list(columns) == list(range(width))
        before = 0
        for part in parts:
            placed.starts.append(before)
            last = 0
            for cells, row, line in part.rows(faults.add):
                is_first, last = last == 0, row
                if header and is_first:
                    continue
                if len(cells) != width:
                    faults.add(part.where(row, line), _ragged(cells, width, part.delimiter))
                else:
                    wanted = cells if everything else [cells[i] for i in columns]
                    yield Record(wanted, before + row, line)
            before += last

    return Stream(names, width, records, "csv", placed if len(files) > 1 else place, first)


class _Part:
    """One of the files."""

    def __init__(
        self, file: Path, several: bool, dataset: Dataset, field: str, encoding: Encoding
    ) -> None:
        self.delimiter = _delimiter(file.name if several else dataset.uri, dataset, field)
        self._file = file
        self._encoding = encoding
        self._source = dataset.uri
        self._label = f"{file.name}, " if several else ""

    def where(self, row: int, line: int) -> str:
        """A place in it, for messages."""
        return self._label + place(row, line)

    def first(self) -> list[str]:
        """The cells of the first row.

        Raises:
            BadData: there is none.
        """
        for row in self.rows(lambda _where, _what: None):
            return row.cells
        raise BadData(f"{self._source}: {self._label}no rows: the file is empty")

    def rows(self, tell: Callable[[str, str], None]) -> Iterator[_Row]:
        """All rows but blank ones, which are told; at the file's end they are allowed."""
        csv.field_size_limit(LONGEST_CELL)
        lines = self._encoding.lines(self._file, f"{self._source}: {self._label}".rstrip(": ,"))
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        blank: list[tuple[int, int]] = []
        row = 0
        while True:
            row += 1
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise BadData(
                    f"{self._source}: {self.where(row, line)}: {_csv_error(error, self.delimiter)}"
                ) from None
            if not cells:
                blank.append((row, line))
                continue
            for place_of_blank in blank:
                tell(self.where(*place_of_blank), "the row is blank; remove it or fill it")
            blank.clear()
            yield _Row(cells, row, line)


def _check_alike(
    files: Sequence[Path],
    firsts: Sequence[list[str]],
    header: bool,
    dataset: Dataset,
    field: str,
) -> None:
    """Refuse several files that do not say alike what their columns are."""
    if not header:
        if dataset.csv.header != "absent":
            raise BadSpec(
                f"{field}.csv.header: {dataset.uri} holds {len(files)} CSV files, and the first row"
                f" of {files[0].name} is no header that is known: {listed(firsts[0])}; set it to"
                f" absent if no file has one, or name the columns in {field}.columns"
            )
        return
    names = [cell.strip() for cell in firsts[0]]
    for file, cells in zip(files, firsts, strict=True):
        if [cell.strip() for cell in cells] != names:
            raise BadData(
                f"{dataset.uri}: {file.name} has the header {listed(cells)}, and"
                f" {files[0].name} {listed(names)}; give all files the same, in one order"
            )


def _names(first: list[str], source: str) -> tuple[str, ...]:
    names = tuple(cell.strip() for cell in first)
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise BadData(f"{source}: row 1: the header names {listed(repeated)} more than once")
    return names


def _delimiter(name: str, dataset: Dataset, field: str) -> str:
    given = dataset.csv.delimiter
    if given is None:
        return "\t" if ending_of(name, TAB_ENDINGS) in TAB_ENDINGS else ","
    if given in '"\r\n\0':
        raise BadSpec(f"{field}.csv.delimiter: {given!r} cannot separate cells")
    return given


def _csv_error(error: csv.Error, delimiter: str) -> str:
    if "unexpected end of data" in str(error):
        return _UNCLOSED
    if "field larger than" in str(error):
        return f"a cell of more than {LONGEST_CELL} characters; mostly {_UNCLOSED}"
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
