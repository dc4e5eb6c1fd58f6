"""Data sets as CSV files: training rows and rows held out."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Split:
    """Two CSV files with a header, or two folders of images by class."""

    train: Path
    test: Path


def split_of(folder: Path) -> Split:
    """The files train.csv and test.csv of a folder."""
    return Split(folder / "train.csv", folder / "test.csv")


def write_split(
    folder: Path,
    header: Sequence[str],
    train: Iterable[Sequence[str]],
    test: Iterable[Sequence[str]],
) -> None:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = split_of(folder)
    write_csv(paths.train, header, train)
    write_csv(paths.test, header, test)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """UTF-8, with a header."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
