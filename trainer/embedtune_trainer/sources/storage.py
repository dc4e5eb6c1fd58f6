"""Where files come from and where the model goes, by the scheme of a URI.

A Store says what the run needs of a storage; S3, the hub, claims and the local file system are
some, and `Storage` picks one by the URI. What goes wrong is told in the words of `errors`, always
with the URI: SourceNotFound, AccessDenied, BadSpec and BadData are final, StorageUnavailable
comes only after retries.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol
from urllib.parse import unquote

from embedtune_api.contract import MANIFEST, PVC_DIR
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.errors import (
    AccessDenied,
    BadSpec,
    Interrupted,
    SourceNotFound,
    StorageUnavailable,
)

NOT_YET = """# Not a model (yet)

A FineTuneJob of embedtune writes here. The model is complete once manifest.json is here, which
is written last; without it, this is what a run left that is under way or has failed.
"""


class Store(Protocol):
    """A place that files are fetched from and models are published to.

    Every method raises SourceNotFound, AccessDenied, StorageUnavailable, BadSpec or Interrupted.
    """

    def fetch_file(self, uri: str, target: Path) -> Path:
        """Make one file readable; the path returned is `target`, or the file's own if it is here.

        What is returned is whole (its size is verified), and is not to be written to.
        """

    def fetch_folder(self, uri: str, target: Path, names: Collection[str] | None = None) -> Path:
        """Make everything under the URI readable as a folder, which is not to be written to.

        Args:
            uri: of the folder.
            target: where a download goes.
            names: only files of these names are wanted, wherever they lie in it; others may come.

        Raises:
            SourceNotFound: also when there is nothing under it.
            BadData: a name in it would lie outside of the folder.
        """

    def prepare(self, uri: str) -> None:
        """Find out that a model can be published under the URI, before hours are spent on it.

        A model that is there stays until `publish` replaces it.
        """

    def publish(self, folder: Path, uri: str) -> None:
        """Put a model's folder under the URI, its manifest.json last.

        At no moment is there a manifest beside files that it does not describe. What an earlier
        attempt left there is replaced; the checkpoints go last of all.
        """

    def sizes(self, uri: str) -> dict[str, int]:
        """Bytes of every file under the URI by its path there; empty if there is nothing."""

    def put_folder(self, folder: Path, uri: str, last: str) -> None:
        """Put a folder under the URI, its file of the name `last` when all others are there."""

    def remove_folder(self, uri: str, first: str) -> None:
        """Remove everything under the URI, the file of the name `first` before all others."""


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again after a failure that may pass."""

    give_up_after_s: float = 60.0
    """Seconds without any progress after which no further try begins."""
    first_wait_s: float = 0.5
    """Seconds before the second try; doubled for each one after it."""
    longest_wait_s: float = 8.0
    """Most seconds between two tries."""


class Patience:
    """The tries of one operation: waits between them, and ends when the policy's time is up."""

    def __init__(
        self, policy: RetryPolicy, stop: Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy
        self._stop = stop
        self._clock = clock
        self._wait_s = policy.first_wait_s
        self._since = clock()
        self.tries = 1
        self._check()

    def progressed(self) -> None:
        """Something arrived: the time without progress starts anew.

        Raises:
            Interrupted: the run has been told to stop.
        """
        self._since = self._clock()
        self._check()

    def wait_or_raise(self, uri: str, why: str) -> None:
        """Wait for the next try.

        Raises:
            StorageUnavailable: there is none.
            Interrupted: the run has been told to stop.
        """
        idle_s = self._clock() - self._since
        if idle_s + self._wait_s > self._policy.give_up_after_s:
            raise StorageUnavailable(
                f"{uri}: {why} (gave up after {self.tries} tries in {idle_s:.0f} s)"
            )
        self._stop.wait(self._wait_s)
        self._check()
        self._wait_s = min(2 * self._wait_s, self._policy.longest_wait_s)
        self.tries += 1

    def _check(self) -> None:
        if self._stop.is_set():
            raise Interrupted("told to stop while files were being transferred")


class FileStore:
    """file:// URIs: fetched files are used where they lie, models are renamed into their place."""

    def _path(self, uri: str) -> Path:
        return file_path(uri)

    def fetch_file(self, uri: str, target: Path) -> Path:  # noqa: ARG002  used where it lies
        """See Store."""
        path = self._path(uri)
        if path.is_dir():
            raise SourceNotFound(f"{uri}: is a folder, a file is wanted")
        with _os_errors(uri):
            path.open("rb").close()
        return path

    def fetch_folder(
        self,
        uri: str,
        target: Path,  # noqa: ARG002  used where it lies
        names: Collection[str] | None = None,  # noqa: ARG002
    ) -> Path:
        """See Store."""
        path = self._path(uri)
        with _os_errors(uri):
            if not any(path.iterdir()):
                raise SourceNotFound(f"{uri}: the folder is empty")
        return path

    def prepare(self, uri: str) -> None:
        """See Store."""
        path = file_path(uri)
        with _os_errors(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left_over in path.parent.glob(f".{path.name}.*.part"):
                if not path.exists() and (left_over / "old").exists():
                    (left_over / "old").rename(path)  # killed between the two renames
                shutil.rmtree(left_over, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=path.parent):
                pass

    def publish(self, folder: Path, uri: str) -> None:
        """See Store; here the whole folder comes into its place by one rename."""
        self.put_folder(folder, uri, MANIFEST)

    def sizes(self, uri: str) -> dict[str, int]:
        """See Store."""
        with _os_errors(uri):
            files = folder_files(self._path(uri)).items()
            return {name: path.stat().st_size for name, path in files}

    def put_folder(self, folder: Path, uri: str, last: str) -> None:  # noqa: ARG002  all at once
        """See Store; here the whole folder comes into its place by one rename."""
        path = file_path(uri)
        with _os_errors(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(
                tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
            )
            try:
                new, old = beside / "new", beside / "old"
                shutil.copytree(folder, new)
                if path.exists():
                    path.rename(old)
                new.rename(path)
            finally:
                shutil.rmtree(beside, ignore_errors=True)

    def remove_folder(self, uri: str, first: str) -> None:
        """See Store."""
        path = file_path(uri)
        with _os_errors(uri):
            (path / first).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)


class ClaimStore(FileStore):
    """pvc://CLAIM/PATH, read only: the claim's volume is mounted in the pod by the operator."""

    def __init__(self, mounts: Path = Path(PVC_DIR)) -> None:
        """`mounts`: the folder in which each claim has a folder by its name."""
        self._mounts = mounts

    def _path(self, uri: str) -> Path:
        claim, _, inside = uri.removeprefix("pvc://").partition("/")
        if not (self._mounts / claim).is_dir():
            raise BadSpec(
                f"{uri}: the claim {claim} is not mounted here; pvc:// is for jobs on a cluster,"
                " with `embedtune run` use file://"
            )
        if ".." in inside.split("/"):
            raise BadSpec(f"{uri}: leads out of its claim; write the path without ..")
        return self._mounts / claim / inside.strip("/")

    def prepare(self, uri: str) -> None:
        """Nothing is published here."""
        raise BadSpec(f"{uri}: claims are only read from; use s3:// for the output")

    def put_folder(self, folder: Path, uri: str, last: str) -> None:  # noqa: ARG002  never here
        """Nothing is published here."""
        self.prepare(uri)

    def remove_folder(self, uri: str, first: str) -> None:  # noqa: ARG002  never here
        """Nothing is removed here."""
        self.prepare(uri)


class Storage:
    """The stores of one run, by scheme; itself a Store."""

    def __init__(self, stores: Mapping[str, Callable[[], Store]]) -> None:
        """Stores by scheme, made when the first URI asks for them."""
        self._makers = stores
        self._made: dict[str, Store] = {}

    def fetch_file(self, uri: str, target: Path) -> Path:
        """See Store."""
        return self._of(uri).fetch_file(uri, target)

    def fetch_folder(self, uri: str, target: Path, names: Collection[str] | None = None) -> Path:
        """See Store."""
        return self._of(uri).fetch_folder(uri, target, names)

    def prepare(self, uri: str) -> None:
        """See Store."""
        self._of(uri).prepare(uri)

    def publish(self, folder: Path, uri: str) -> None:
        """See Store."""
        self._of(uri).publish(folder, uri)

    def sizes(self, uri: str) -> dict[str, int]:
        """See Store."""
        return self._of(uri).sizes(uri)

    def put_folder(self, folder: Path, uri: str, last: str) -> None:
        """See Store."""
        self._of(uri).put_folder(folder, uri, last)

    def remove_folder(self, uri: str, first: str) -> None:
        """See Store."""
        self._of(uri).remove_folder(uri, first)

    def _of(self, uri: str) -> Store:
        scheme = uri.partition("://")[0]
        if scheme not in self._makers:
            raise BadSpec(f"{uri}: no storage for {scheme}://; use {', '.join(self._makers)}")
        if scheme not in self._made:
            self._made[scheme] = self._makers[scheme]()
        return self._made[scheme]


def open_storage(
    spec: StorageSpec, stop: Event, policy: RetryPolicy, environ: Mapping[str, str] | None = None
) -> Storage:
    """The stores that a job can use.

    Args:
        spec: the job's storage, which goes before the environment.
        stop: ends waits and transfers with Interrupted.
        policy: how long a service is waited for.
        environ: where endpoints, region and credentials stand; default os.environ.
    """
    env = os.environ if environ is None else environ

    def s3() -> Store:
        from embedtune_trainer.sources.s3 import S3Store, connect

        return S3Store(connect(spec, env), policy, stop)

    def hub() -> Store:
        from embedtune_trainer.sources.hub import HubStore

        return HubStore(policy, stop, env)

    return Storage({"s3": s3, "hf": hub, "pvc": ClaimStore, "file": FileStore})


def file_path(uri: str) -> Path:
    """The path of a file:// URI.

    Raises:
        BadSpec: it is not absolute.
    """
    rest = uri.removeprefix("file://")
    rest = rest.removeprefix("localhost") if rest.startswith("localhost/") else rest
    if not rest.startswith("/"):
        raise BadSpec(f"{uri}: a file URI holds an absolute path: file:///{rest}")
    return Path(unquote(rest))


def folder_files(folder: Path) -> dict[str, Path]:
    """All files below a folder by their relative names, sorted."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return dict(sorted((path.relative_to(folder).as_posix(), path) for path in found))


def without_manifest(files: Mapping[str, Path]) -> dict[str, Path]:
    """The files that go before the manifest."""
    return {name: path for name, path in files.items() if name != MANIFEST}


@contextmanager
def _os_errors(uri: str) -> Iterator[None]:
    """Tell an OSError in the words of `errors`."""
    try:
        yield
    except FileNotFoundError:
        raise SourceNotFound(f"{uri}: there is no such file or folder") from None
    except NotADirectoryError:
        raise SourceNotFound(f"{uri}: is a file, a folder is wanted") from None
    except PermissionError as error:
        raise AccessDenied(
            f"{uri}: this user (uid {os.getuid()}) may not use {error.filename}"
        ) from None
    except OSError as error:
        raise StorageUnavailable(f"{uri}: {error.strerror or error}") from None
