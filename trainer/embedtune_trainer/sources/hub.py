"""The Hugging Face hub, read only, by the huggingface_hub package.

A branch or tag is resolved to a commit first, and the files of that commit are fetched into the
hub's own cache, so that what was used can be said and had again. Code in a repository is neither
fetched nor run. With HF_HUB_OFFLINE=1 only the cache is used.
"""

import glob
import json
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any, Final, TypeVar

from embedtune_trainer.errors import BadSpec, SourceNotFound, TrainerError
from embedtune_trainer.sources.hub_files import (
    HubUri,
    dataset_files,
    model_files,
    model_roots,
    parse_hub_uri,
)
from embedtune_trainer.sources.storage import Patience, RetryPolicy

log = logging.getLogger(__name__)

HUB: Final = "https://huggingface.co"
MODULES: Final = "modules.json"
_YES: Final = ("1", "ON", "YES", "TRUE")

_Result = TypeVar("_Result")


def revision_of(snapshot: Path) -> str | None:
    """The commit of a folder that a HubStore gave; None for other folders."""
    return snapshot.name if snapshot.parent.name == "snapshots" else None


class HubStore:
    """hf:// URIs; see `storage.Store`.

    The cache is where HF_HUB_CACHE or HF_HOME say (machine.py puts the latter into the work
    folder unless a user has set it); what is fetched is used there.
    """

    def __init__(self, policy: RetryPolicy, stop: Event, environ: Mapping[str, str]) -> None:
        """`environ`: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE count."""
        self._policy = policy
        self._stop = stop
        self._endpoint = (environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self._token = environ.get("HF_TOKEN") or None
        self._offline = environ.get("HF_HUB_OFFLINE", "").upper() in _YES
        home = Path(environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
        self._cache = Path(environ.get("HF_HUB_CACHE") or home / "hub")

    def fetch_file(self, uri: str, target: Path) -> Path:  # noqa: ARG002  used where it lies
        """See Store; the URI is a dataset's with a path."""
        found = parse_hub_uri(uri)
        path = self._snapshot(uri, found) / found.path if found.path else None
        if path is None or not path.is_file():
            raise SourceNotFound(f"{uri}: names no file, a file is wanted")
        return path

    def fetch_folder(
        self,
        uri: str,
        target: Path,  # noqa: ARG002  used where it lies
        names: Collection[str] | None = None,
    ) -> Path:
        """See Store; a model's folder is the snapshot of its commit, see revision_of."""
        found = parse_hub_uri(uri)
        path = self._snapshot(uri, found, names) / found.path
        if not path.is_dir():
            raise SourceNotFound(f"{uri}: names no folder, a folder is wanted")
        return path

    def prepare(self, uri: str) -> None:
        """Nothing is published here."""
        raise BadSpec(f"{uri}: the hub is only read from; use s3:// for the output")

    def publish(self, folder: Path, uri: str) -> None:  # noqa: ARG002  never here
        """Nothing is published here."""
        self.prepare(uri)

    def sizes(self, uri: str) -> dict[str, int]:
        """See Store; of the files that would be fetched."""
        found = parse_hub_uri(uri)
        sizes = self._trying(uri, lambda _: self._files(found))
        names = dataset_files(list(sizes), found.path) if found.kind == "dataset" else list(sizes)
        return {name: sizes[name] for name in names}

    def put_folder(self, folder: Path, uri: str, last: str) -> None:  # noqa: ARG002  never here
        """Nothing is published here."""
        self.prepare(uri)

    def remove_folder(self, uri: str, first: str) -> None:  # noqa: ARG002  never here
        """Nothing is removed here."""
        self.prepare(uri)

    def _snapshot(self, uri: str, found: HubUri, only: Collection[str] | None = None) -> Path:
        """The folder of the commit with all files that are wanted in it, or those of some names."""
        if self._offline:
            return self._cached(uri, found)
        sha, names = self._trying(uri, lambda _: self._resolve(found))
        if found.kind == "dataset":
            wanted = dataset_files(names, found.path)
        else:
            wanted = model_files(names, self._module_folders(uri, found, sha, names))
        if only is not None:
            wanted = [name for name in wanted if PurePosixPath(name).name in only]
        if not wanted:
            raise SourceNotFound(
                f"{uri}: {self._endpoint} has nothing of use there; check the path"
            )
        folder = self._trying(uri, lambda patience: self._download(found, sha, wanted, patience))
        log.info("fetched uri=%s revision=%s files=%d", uri, sha, len(wanted))
        return folder

    def _resolve(self, found: HubUri) -> tuple[str, list[str]]:
        """The commit, and the names of its files."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._token or False)
        ask = api.model_info if found.kind == "model" else api.dataset_info
        info = ask(found.repository, revision=found.revision)
        return str(info.sha), [sibling.rfilename for sibling in info.siblings or []]

    def _files(self, found: HubUri) -> dict[str, int]:
        """Bytes of all files of the repository."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._token or False)
        ask = api.model_info if found.kind == "model" else api.dataset_info
        info = ask(found.repository, revision=found.revision, files_metadata=True)
        return {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or []}

    def _module_folders(
        self, uri: str, found: HubUri, sha: str, names: Collection[str]
    ) -> set[str]:
        """Folders of a pair's encoders, and of sentence-transformers' modules in all of them.

        A list of modules that is broken shows when it is loaded.
        """
        roots = model_roots(names)
        lists = [name for name in (str(PurePosixPath(r, MODULES)) for r in roots) if name in names]
        folders = set(roots)
        if lists:
            snapshot = self._trying(uri, lambda own: self._download(found, sha, lists, own))
            for name in lists:
                folders |= {str(PurePosixPath(name).parent / m) for m in _modules(snapshot / name)}
        return folders

    def _download(
        self, found: HubUri, sha: str, names: list[str], patience: Patience | None
    ) -> Path:
        """The snapshot with these files; without patience, of the cache only."""
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            found.repository,
            repo_type=found.kind,
            revision=sha,
            cache_dir=self._cache,
            endpoint=self._endpoint,
            token=self._token or False,
            local_files_only=patience is None,
            allow_patterns=[glob.escape(name) for name in names],
            tqdm_class=_watching(patience) if patience else None,
            max_workers=4,
        )
        return Path(str(folder))

    def _cached(self, uri: str, found: HubUri) -> Path:
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = self._download(found, found.revision or "main", [], None)
        except LocalEntryNotFoundError:
            raise SourceNotFound(
                f"{uri}: is not in the cache {self._cache}, and HF_HUB_OFFLINE is set; unset it, or"
                " fetch it first with `hf download`"
            ) from None
        return folder

    def _trying(self, uri: str, attempt: Callable[[Patience], _Result]) -> _Result:
        """Do it until it is done, fails for good, or patience ends."""
        from embedtune_trainer.sources.hub_errors import passing_reason

        patience = Patience(self._policy, self._stop)
        while True:
            try:
                return attempt(patience)
            except TrainerError:
                raise
            except Exception as error:
                why = passing_reason(error, uri, self._endpoint, signed=self._token is not None)
            log.warning("hub trouble uri=%s try=%d why=%r", uri, patience.tries, why)
            patience.wait_or_raise(uri, why)


def _modules(path: Path) -> set[str]:
    """Folders that a modules.json names; none if it is broken."""
    try:
        return {str(module["path"]) for module in json.loads(path.read_bytes())}
    except (ValueError, KeyError, TypeError):
        return set()


def _watching(patience: Patience) -> Any:  # noqa: ANN401  a subclass of tqdm, which is untyped
    """A progress bar, not shown (see machine.py), that tells the patience that bytes arrive."""
    from huggingface_hub.utils.tqdm import tqdm

    class Watching(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            patience.progressed()
            shown: bool | None = super().update(n)
            return shown

    return Watching
