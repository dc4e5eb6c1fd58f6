"""webdataset: tar files in which the files of one sample follow each other and share a name.

The archives are not unpacked: an image is told by where it lies in its archive.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.columns.pictures import FileSlice
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.images import IMAGE_ENDINGS
from embedtune_trainer.rows.messages import listed
from embedtune_trainer.rows.records import Cell, Placed, Record, Stream

LARGEST_TEXT_BYTES: Final = 2**20
_TEXTS: Final = {"txt": "text", "cls": "label"}
Sample = dict[str, Cell]


def open_webdataset(files: Sequence[Path], dataset: Dataset, faults: Faults) -> Stream:
    """Open archives, in the order of their names; the first sample says what each one has.

    Its image is the column image, .txt is text, .cls is label, and the keys of .json are columns.

    Raises:
        BadData: an archive cannot be read, or holds no samples.
    """
    placed = Placed([file.name for file in files], [])
    first = next((sample for file in files for _, sample in _samples(file, dataset.uri)), None)
    if first is None:
        raise BadData(f"{dataset.uri}: no rows: the archive is empty")
    names = tuple(first)

    def records(columns: Sequence[int]) -> Iterator[Record]:
        wanted = [names[i] for i in columns]
        row = 0
        for file in files:
            placed.starts.append(row)
            for key, sample in _samples(file, dataset.uri):
                row += 1
                if missing := [name for name in wanted if name not in sample]:
                    faults.add(
                        placed(row, 0),
                        f"the sample {key} has no {listed(missing)}, as the first one has",
                    )
                else:
                    yield Record([sample[name] for name in wanted], row)

    return Stream(names, len(names), records, "webdataset", placed)


def _samples(file: Path, source: str) -> Iterator[tuple[str, Sample]]:
    """The samples' names and what is in each."""
    current: str | None = None
    sample: Sample = {}
    try:
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else it would keep them all
                name = PurePosixPath(member.name)
                if not member.isfile() or name.name.startswith("."):
                    continue
                stem, _, ending = name.name.partition(".")
                key = (name.parent / stem).as_posix()
                if key != current:
                    if current is not None:
                        yield current, sample
                    current, sample = key, {}
                _add(sample, ending.lower(), member, archive, file)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise BadData(
            f"{source}: {file.name}: cannot be read as an uncompressed tar file: {error}"
        ) from None
    if current is not None:
        yield current, sample


def _add(
    sample: Sample, ending: str, member: tarfile.TarInfo, archive: tarfile.TarFile, file: Path
) -> None:
    """Put one member where it belongs.

    Raises:
        ValueError: it says what another member has said, or is not what its name says.
    """
    if f".{ending}" in IMAGE_ENDINGS:
        found: Sample = {"image": FileSlice(file, member.offset_data, member.size)}
    elif ending in _TEXTS:
        found = {_TEXTS[ending]: _text(archive, member)}
    elif ending == "json":
        read = json.loads(_text(archive, member))
        if not isinstance(read, dict):
            raise ValueError(f"{member.name} holds no object")
        found = read
    else:
        return
    if twice := found.keys() & sample.keys():
        raise ValueError(f"{member.name} gives {listed(sorted(twice))}, which the sample has")
    sample.update(found)


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    stream = archive.extractfile(member)
    if stream is None or member.size > LARGEST_TEXT_BYTES:
        raise ValueError(f"{member.name} is larger than {LARGEST_TEXT_BYTES} bytes")
    try:
        return stream.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{member.name} is not utf-8 ({error})") from None
