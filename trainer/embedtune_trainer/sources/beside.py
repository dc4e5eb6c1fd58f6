"""The store of a process beside another one that has fetched the same already."""

from collections.abc import Collection
from pathlib import Path

from embedtune_trainer.sources.storage import Store


class FetchedBeside:
    """A store that fetches nothing which the node's first process has.

    What lies in a store of this machine (file://, pvc://, the hub's cache) is used there as ever.
    """

    def __init__(self, store: Store, own: Path, first: Path) -> None:
        """Of two processes that fetch to the same places in their folders.

        Args:
            store: where URIs are.
            own: this process's folder; all targets are in it.
            first: the other's, which has everything by now.
        """
        self._store = store
        self._own = own
        self._first = first

    def fetch_file(self, uri: str, target: Path) -> Path:
        """See Store."""
        there = self._beside(target)
        return there if there.is_file() else self._store.fetch_file(uri, target)

    def fetch_folder(self, uri: str, target: Path, names: Collection[str] | None = None) -> Path:
        """See Store."""
        there = self._beside(target)
        return there if there.is_dir() else self._store.fetch_folder(uri, target, names)

    def prepare(self, uri: str) -> None:
        """See Store."""
        self._store.prepare(uri)

    def publish(self, folder: Path, uri: str) -> None:
        """See Store."""
        self._store.publish(folder, uri)

    def sizes(self, uri: str) -> dict[str, int]:
        """See Store."""
        return self._store.sizes(uri)

    def put_folder(self, folder: Path, uri: str, last: str) -> None:
        """See Store."""
        self._store.put_folder(folder, uri, last)

    def remove_folder(self, uri: str, first: str) -> None:
        """See Store."""
        self._store.remove_folder(uri, first)

    def _beside(self, target: Path) -> Path:
        return self._first / target.relative_to(self._own)
