"""Reading a file that a test writes, and what is said when it is refused."""

from pathlib import Path

import pytest

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.images import ImageFetcher
from embedtune_trainer.rows.read import Wanted, read_rows
from embedtune_trainer.rows.table import LabelledRows, PairRows

TEXT = Wanted("text", "text")
IMAGE = Wanted("image", "image")
VECTOR = Wanted("vector", "vector")
PAIR = Wanted("text", "image")
URI = "s3://data/train.csv"

Read = LabelledRows | PairRows


def read(
    folder: Path,
    content: str | bytes,
    uri: str = URI,
    want: Wanted = TEXT,
    fetch: ImageFetcher | None = None,
    **options,
) -> Read:
    """The rows of a file with this content."""
    path = folder / "file"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_rows(path, Dataset.parse({"uri": uri, **options}), want, fetch=fetch)


def refused(folder: Path, content: str | bytes, uri: str = URI, **options) -> str:
    """What is said about a file with this content."""
    with pytest.raises((BadData, BadSpec)) as caught:
        read(folder, content, uri, **options)
    return str(caught.value)


def read_at(path: Path, want: Wanted = TEXT, fetch: ImageFetcher | None = None, **options) -> Read:
    """The rows of a file or folder on this machine."""
    dataset = Dataset.parse({"uri": path.as_uri(), **options})
    return read_rows(path, dataset, want, fetch=fetch)


def refused_at(path: Path, want: Wanted = TEXT, **options) -> str:
    """What is said about a file or folder on this machine."""
    with pytest.raises((BadData, BadSpec)) as caught:
        read_at(path, want, **options)
    return str(caught.value)
