"""A folder of data files: which format it holds, and which of its files are read."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.formats.compressed import ending_of
from embedtune_trainer.rows.images import IMAGE_ENDINGS
from embedtune_trainer.rows.messages import listed

Format = Literal["csv", "jsonl", "parquet", "documents", "datasets", "images", "webdataset"]

STATE: Final = "state.json"
"""What `save_to_disk` of Hugging Face datasets leaves beside a data set's files."""
DICT: Final = "dataset_dict.json"
"""And beside several, the splits."""
_PATTERNS: Final[dict[Format, tuple[str, ...]]] = {
    "webdataset": (".tar",),
    "parquet": (".parquet",),
    "datasets": (".arrow", ".parquet"),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv", ".tab"),
}
LINES: Final = (*_PATTERNS["jsonl"], *_PATTERNS["csv"])
"""Endings of files that may be compressed."""
_SPLIT: Final = re.compile(r"(?:^|[-_./])(train|test|validation|valid|val|dev)(?=[-_./])")


def kind_of_folder(folder: Path, source: str, field: str) -> Format:
    """The format of a folder's files.

    Raises:
        BadSpec: it cannot be told.
    """
    if (folder / STATE).exists() or (folder / DICT).exists():
        return "datasets"
    files = [path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder)]
    kinds: list[Format] = [
        kind for kind, endings in _PATTERNS.items() if kind != "datasets" and _with(files, endings)
    ]
    if len(kinds) == 1:
        return kinds[0]
    if not kinds and _with(files, tuple(IMAGE_ENDINGS)):
        return "images"
    what = f"holds files of {' and '.join(kinds)}" if kinds else "holds no data files"
    raise BadSpec(f"{field}.format: {source} {what}; set the format, or name one file")


def files_of(path: Path, kind: Format, source: str, field: str) -> list[Path]:
    """The files to read, in order: the path itself, or those of the format in a folder.

    Where their names tell splits apart, the training data are read from train; elsewhere the spec
    has to name a file.

    Raises:
        BadSpec: there are several splits.
        BadData: there are no such files.
    """
    if path.is_file():
        return [path]
    if (path / DICT).exists():
        splits = json.loads((path / DICT).read_text())["splits"]
        path = path / _split_for(splits, source, field)
    if (path / STATE).exists():
        names = json.loads((path / STATE).read_text())["_data_files"]
        return [path / entry["filename"] for entry in names]
    endings = _PATTERNS.get(kind, ())
    found = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p, path))
    files = _with(found, endings) if endings else found
    if not files:
        raise BadData(f"{source}: the folder holds no {kind} files ({', '.join(endings)})")
    splits_of = {file: _SPLIT.findall(file.relative_to(path).as_posix()) for file in files}
    names = sorted({found[-1] for found in splits_of.values() if found})
    if len(names) < 2:
        return files
    chosen = _split_for(names, source, field)
    return [file for file, found in splits_of.items() if found and found[-1] == chosen]


def _split_for(splits: list[str], source: str, field: str) -> str:
    if len(splits) == 1:
        return splits[0]
    if field.endswith(".train") and "train" in splits:
        return "train"
    raise BadSpec(
        f"{field}.uri: {source} holds several splits, {listed(splits)}; name the file or folder of"
        " one"
    )


def _with(files: Iterable[Path], endings: tuple[str, ...]) -> list[Path]:
    return [path for path in files if ending_of(path.name, LINES) in endings]


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
