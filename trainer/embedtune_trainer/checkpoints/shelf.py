"""The checkpoints of one job in its storage: listed, read, put, and the old ones removed."""

import shutil
from collections import defaultdict
from pathlib import Path
from threading import Event
from typing import Final

from embedtune_trainer.checkpoints.files import MANIFEST, Manifest, read_manifest
from embedtune_trainer.sources.storage import Store

DIGITS: Final = 10


class Shelf:
    """Folders named after their steps under one prefix.

    Attributes:
        uri: the prefix, with a slash at its end.
    """

    def __init__(self, reading: Store, writing: Store, uri: str, halt: Event) -> None:
        """Of one place two stores.

        Args:
            reading: read from.
            writing: written to; what tells the run to stop must not end its transfers.
            uri: see Attributes.
            halt: ends them.
        """
        self._reading = reading
        self._writing = writing
        self._halt = halt
        self.uri = uri

    def close(self) -> None:
        """End what is being transferred."""
        self._halt.set()

    def place(self, step: int) -> str:
        """URI of a step's checkpoint."""
        return f"{self.uri}{step:0{DIGITS}}/"

    def complete(self) -> list[int]:
        """Steps whose manifest is there, the newest first."""
        found = _names(self._reading, self.uri).items()
        return sorted((int(n) for n, files in found if _is_complete(n, files)), reverse=True)

    def manifest(self, step: int, target: Path) -> Manifest:
        """A step's manifest alone, fetched into a folder.

        Raises:
            Damaged: it is none.
        """
        return read_manifest(
            self._reading.fetch_file(self.place(step) + MANIFEST, target / MANIFEST)
        )

    def fetch(self, step: int, target: Path) -> Path:
        """A folder with a step's files, not to be written to; see Store.fetch_folder."""
        shutil.rmtree(target, ignore_errors=True)
        return self._reading.fetch_folder(self.place(step), target)

    def put(self, folder: Path, step: int, keep: int) -> None:
        """Put a step's folder there, and then remove all but it and the keep - 1 before it.

        What is newer, or has no manifest, is of an attempt that ended: it goes, too.
        """
        self._writing.put_folder(folder, self.place(step), last=MANIFEST)
        found = _names(self._writing, self.uri)
        complete = sorted(n for n, files in found.items() if _is_complete(n, files))
        kept = [name for name in complete if int(name) <= step][-keep:]
        for name in sorted(found.keys() - set(kept)):
            self._writing.remove_folder(f"{self.uri}{name}/", first=MANIFEST)


def _names(store: Store, uri: str) -> dict[str, set[str]]:
    """Of every folder the names of its files; what lies in no folder is not looked at."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in store.sizes(uri):
        name, slash, rest = path.partition("/")
        if slash:
            found[name].add(rest)
    return found


def _is_complete(name: str, files: set[str]) -> bool:
    return len(name) == DIGITS and name.isdecimal() and MANIFEST in files
