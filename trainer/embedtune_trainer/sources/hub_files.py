"""What a repository of the Hugging Face hub is called, and which of its files are wanted."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from embedtune_trainer.errors import BadSpec

Kind = Literal["model", "dataset"]

_SAFE: Final = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_PICKLED: Final = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?")
_OTHER_SAFE: Final = re.compile(r"[^/]*\.safetensors(\.index\.json)?")
_OTHER: Final = re.compile(r"[^/]*\.(safetensors|bin)(\.index\.json)?")
_BESIDE: Final = (".json", ".txt", ".model", ".jinja", ".codes")
"""Configurations, vocabularies, chat templates: all small."""
_PAIR: Final = "pair.json"
_PAIRED: Final = ("text", "image", "clip")
"""Folders of a text-image pair that embedtune saved, beside its pair.json."""
CARD: Final = "README.md"
"""Of a model, for its licence."""
_NO_DATA: Final = (".py", ".gitattributes", ".gitignore", CARD)


@dataclass(frozen=True)
class HubUri:
    """hf://OWNER/NAME[@REVISION] or hf://datasets/OWNER/NAME[@REVISION][/PATH]."""

    kind: Kind
    repository: str
    """OWNER/NAME, or the one name of the hub's oldest models."""
    revision: str | None
    """Branch, tag or commit; None is the repository's main branch."""
    path: str = ""
    """A file or folder in it; empty: all of it."""


def parse_hub_uri(uri: str) -> HubUri:
    """What the URI names; of a dataset, a revision ends at the first slash.

    Raises:
        BadSpec: it names no repository.
    """
    rest = uri.removeprefix("hf://")
    if not rest.startswith("datasets/"):
        repository, _, revision = rest.partition("@")
        found = HubUri("model", repository, revision or None)
    else:
        owner, _, rest = rest.removeprefix("datasets/").partition("/")
        place, _, path = rest.partition("/")
        name, _, revision = place.partition("@")
        found = HubUri("dataset", f"{owner}/{name}", revision or None, path.strip("/"))
    parts = found.repository.split("/")
    if not all(parts) or len(parts) > 2:
        raise BadSpec(
            f"{uri}: names no repository; use hf://OWNER/NAME[@REVISION], or for data"
            " hf://datasets/OWNER/NAME[@REVISION][/PATH]"
        )
    return found


def model_roots(names: Collection[str]) -> tuple[str, ...]:
    """The folders that hold a model each: the repository's own, and those of a saved pair."""
    return ("", *_PAIRED) if _PAIR in names else ("",)


def model_files(names: Iterable[str], module_folders: Collection[str] = ()) -> list[str]:
    """The files that make a model: configurations, tokenizer, weights in one form only, the card.

    Args:
        names: all files of the repository.
        module_folders: folders besides the repository's own that are part of the model; others
            hold what is not used here (ONNX, OpenVINO, checkpoints in between).
    """
    folders: dict[str, list[str]] = {"": [], **{_plain(folder): [] for folder in module_folders}}
    for name in names:
        if (folder := _folder(name)) in folders:
            folders[folder].append(name)
    found = [name for inside in folders.values() for name in _wanted(inside)]
    return [*found, CARD] if found and CARD in folders[""] else found


def dataset_files(names: Iterable[str], path: str = "") -> list[str]:
    """The files of a dataset at or below a path, without scripts and the card."""
    inside = [n for n in names if not path or n == path or n.startswith(path + "/")]
    return [name for name in inside if not name.endswith(_NO_DATA) and not name.startswith(".")]


def _wanted(names: list[str]) -> list[str]:
    """Of one folder: safetensors before pickles, transformers' names before others."""
    last = {name: PurePosixPath(name).name for name in names}
    kinds = (
        [name for name in names if _SAFE.fullmatch(last[name])],
        [name for name in names if _PICKLED.fullmatch(last[name])],
        [name for name in names if _OTHER_SAFE.fullmatch(last[name])],
        [name for name in names if _OTHER.fullmatch(last[name])],
    )
    weights = next((found for found in kinds if found), [])
    beside = [n for n in names if n.endswith(_BESIDE) and not n.endswith(".index.json")]
    return beside + weights


def _folder(name: str) -> str:
    return _plain(str(PurePosixPath(name).parent))


def _plain(folder: str) -> str:
    return "" if folder == "." else folder.strip("/")
