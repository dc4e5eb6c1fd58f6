"""Which asset stands behind an s3:// URI of the examples: BUCKET/NAME, and what makes it."""

import re
from collections.abc import Callable
from pathlib import Path

from localassets import (
    arxiv_pairs,
    cifar10,
    efficientnet_lite0,
    minilm,
    mobilenet_v2,
    movie_reviews,
    openclipart,
    trec,
    word_similarity,
    wordnet_pairs,
)

ASSETS: dict[str, Callable[[], Path]] = {
    "bases/all-MiniLM-L6-v2": minilm,
    "bases/mobilenet_v2-b0353104.pth": mobilenet_v2,
    "bases/tf_efficientnet_lite0.safetensors": efficientnet_lite0,
    "datasets/trec": lambda: trec().train.parent,
    "datasets/cifar10": lambda: cifar10().train.parent,
    "datasets/arxiv-pairs": lambda: arxiv_pairs().train.parent,
    "datasets/wordnet-pairs": lambda: wordnet_pairs().train.parent,
    "datasets/word-similarity": lambda: word_similarity().simlex999.parent,
    "datasets/openclipart": lambda: openclipart().train.parent,
    "datasets/movie-reviews": lambda: movie_reviews().train.parent,
}
"""A file or a folder in the cache, downloaded when it is asked for."""


def named_in(file: Path) -> list[str]:
    """The assets that a FineTuneJob file names, in its order."""
    uris = re.findall(r"s3://([^\s,}\"']+)", file.read_text(encoding="utf-8"))
    found = ("/".join(uri.split("/")[:2]) for uri in uris)
    return list(dict.fromkeys(key for key in found if key in ASSETS))


def place(key: str, folder: Path) -> Path:
    """Link one asset as FOLDER/BUCKET/NAME, in place of what is there; the link.

    Raises:
        PackageGone: the registry does not have it any more.
    """
    source = ASSETS[key]()
    link = folder / key
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(source)
    return link
