"""What is known of a file, or of a folder's files, before any of it is read."""

from pathlib import Path
from threading import Event

import pytest

from embedtune_api.run import Storage
from embedtune_trainer.errors import SourceNotFound
from embedtune_trainer.sizing.sample import sizes_of
from embedtune_trainer.sources.storage import ClaimStore, RetryPolicy, Store, open_storage


@pytest.fixture(params=["file", "pvc"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, str]:
    """A store, and the URI of a folder of two classes there, with a table beside it."""
    for name, content in (("pictures/a/1.png", b"1"), ("pictures/b/2.png", b"22")):
        file = tmp_path / "claim" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    (tmp_path / "claim/rows.csv").write_bytes(b"333")
    if request.param == "pvc":
        return ClaimStore(tmp_path), "pvc://claim"
    return open_storage(Storage(), Event(), RetryPolicy()), (tmp_path / "claim").as_uri()


def test_a_folder_has_the_size_of_each_of_its_files(place: tuple[Store, str]) -> None:
    store, uri = place
    assert sizes_of(store, f"{uri}/pictures") == {"a/1.png": 1, "b/2.png": 2}


def test_a_file_has_its_own(place: tuple[Store, str]) -> None:
    store, uri = place
    found = sizes_of(store, f"{uri}/rows.csv")
    assert found is not None
    assert list(found.values()) == [3]


def test_what_is_not_there_is_said(place: tuple[Store, str]) -> None:
    store, uri = place
    with pytest.raises(SourceNotFound, match="none: there is no such file, and no folder"):
        sizes_of(store, f"{uri}/none")
