"""A job's data files, each fetched and read when it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import Interrupted, TrainerError
from embedtune_trainer.rows.read import ImageFetcher, Reading, Wanted, read
from embedtune_trainer.sources.fetch import fetch_dataset
from embedtune_trainer.sources.storage import Store


class DataFiles:
    """The files of one job.

    Args:
        store: where they are.
        folder: where they are fetched to.
        wanted: what the model takes.
    """

    def __init__(self, store: Store, folder: Path, wanted: Wanted) -> None:
        self._store = store
        self._folder = folder
        self._wanted = wanted
        self._images = ImageFetcher(folder / "images", store)
        self._count = 0

    def read(self, dataset: Dataset, field: str) -> Reading:
        """What one file holds; `field` is its place in the spec, for messages.

        Raises:
            TrainerError: it cannot be had or read; the message names field, file and row.
        """
        self._count += 1
        with about(f"{field}.uri"):
            path = fetch_dataset(self._store, dataset.uri, self._folder / str(self._count))
        return read(path, dataset, self._wanted, field, self._images, self._folder)


@contextmanager
def about(field: str) -> Iterator[None]:
    """Name the spec's field that an error comes from, unless its message does already."""
    try:
        yield
    except Interrupted:
        raise
    except TrainerError as error:
        if str(error).startswith("spec."):
            raise
        raise type(error)(f"{field}: {error}") from error
