"""JSON lines as records: an object a line, its keys the columns' names."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.formats.compressed import opened
from embedtune_trainer.rows.layout import is_usual_name
from embedtune_trainer.rows.messages import listed, shown
from embedtune_trainer.rows.records import Placed, Record, Stream, place

LONGEST_LINE: Final = 2**26
"""Bytes; such a line mostly is a whole file."""


def open_jsonl(files: Sequence[Path], dataset: Dataset, faults: Faults) -> Stream:
    """Open JSON lines; the first object says which keys there are.

    Raises:
        BadData: the first line is no object, or there is none.
    """
    names = _first_keys(files, dataset.uri)
    placed = Placed([file.name for file in files], [])
    where = placed if len(files) > 1 else place

    def records(columns: Sequence[int]) -> Iterator[Record]:
        wanted = [names[i] for i in columns]
        keys = set(names)
        row = 0
        for file in files:
            placed.starts.append(row)
            for line in _lines(file, _called(file, files, dataset.uri)):
                row += 1
                if not line or line.isspace():
                    faults.add(where(row, 0), "the line is blank; remove it")
                    continue
                try:
                    found = _object(line)
                    if found.keys() != keys:
                        _compare(found, names, wanted)
                except ValueError as error:
                    faults.add(where(row, 0), str(error))
                    continue
                yield Record([found.get(name) for name in wanted], row)

    return Stream(names, len(names), records, "jsonl", where)


def _lines(file: Path, called: str) -> Iterator[str]:
    with opened(file, called) as stream:
        lines = iter(partial(stream.readline, LONGEST_LINE), b"")
        for number, line in enumerate(lines, 1):
            if len(line) == LONGEST_LINE:
                raise BadData(
                    f"{called}: line {number}: is longer than {LONGEST_LINE} bytes; write one"
                    " object on each line"
                )
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise BadData(
                    f"{called}: line {number}, byte {error.start} of the line:"
                    f" {line[error.start : error.start + 1]!r} is not utf-8; JSON is"
                ) from None


def _called(file: Path, files: Sequence[Path], source: str) -> str:
    """What messages call one of the files."""
    return f"{source}: {file.name}" if len(files) > 1 else source


def _first_keys(files: Sequence[Path], source: str) -> tuple[str, ...]:
    for file in files:
        called = _called(file, files, source)
        for row, line in enumerate(_lines(file, called), 1):
            if line and not line.isspace():
                try:
                    return tuple(_object(line))
                except ValueError as error:
                    raise BadData(f"{called}: row {row}: {error}") from None
    raise BadData(f"{source}: no rows: the file is empty")


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not JSON ({error.msg} at character {error.colno}): {shown(line.strip())}; write one"
            " object on each line"
        ) from None
    if not isinstance(found, dict):
        raise ValueError(f"{shown(line.strip())} is no object; write one on each line")  # noqa: TRY004
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key stands twice in {listed([name for name, _ in pairs])}")
    return found


def _compare(found: dict[str, Any], names: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse an object that lacks what is read, or has a key that could have been meant."""
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"no {listed(missing)}; the object has {listed(list(found))}")
    new = [name for name in found if name not in names and is_usual_name(name)]
    if new:
        raise ValueError(f"has {listed(new)}, which the first object lacks; give all the same keys")
