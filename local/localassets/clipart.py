"""Pictures of openclipart.org with their titles (public domain), as text,image pairs."""

import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from math import prod
from pathlib import Path
from struct import unpack
from typing import Literal
from xml.etree import ElementTree

from localassets.packages import Debian, bucket, cached, download, plain
from localassets.tables import Split, split_of, write_split

PICTURES = Debian(
    "openclipart-png=1:0.18+dfsg-19",
    "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
)
DRAWINGS = Debian(
    "openclipart-svg=1:0.18+dfsg-19",
    "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
)
SIDE = 256
"""Pixels of the longer side at most; some of the pictures are huge."""
LARGEST = 80_000_000
"""Pixels of a picture that is still taken; fifteen have more, up to 231 million."""
COLLECTION = 5
"""A title that more pictures than this have is the name of a collection, and describes none."""
ALIKE = 0.5
"""Share of common words from which on two titles by one author count as of one series."""

Apart = Literal["series", "title"]

DC = "{http://purl.org/dc/elements/1.1/}"


@dataclass(frozen=True)
class Drawing:
    """One picture: its title, who made it, and its PNG."""

    title: str
    author: str
    png: Path

    @property
    def words(self) -> frozenset[str]:
        """The title's words, without numbers."""
        return frozenset(re.findall(r"[^\W\d_]+", self.title.lower()))


def openclipart(test: int = 300, *, apart: Apart = "series") -> Split:
    """CSV files text,image; images/NNNN.png beside them, at most 256 pixels long, with alpha.

    The largest and second copies are left out. The pictures are grouped; of `test` groups, one
    picture each is held out and the others are left out, so no held-out picture is of a group in
    training, and no two are of one.

    Args:
        test: how many pairs are held out.
        apart: what makes a group. series: titles that are equal but for numbers, or alike and by
            one author, so that they do not tell the pictures apart well; pictures whose title is a
            collection's are left out. title: equal titles; all pictures are taken, so that the
            search is for pictures like those in training.
    """

    def make(scratch: Path, made: Path) -> None:
        for package in (PICTURES, DRAWINGS):
            archive = download(package, scratch)
            subprocess.run(["dpkg-deb", "-x", str(archive), str(scratch / "root")], check=True)
        drawings = list(read(scratch / "root" / "usr" / "share" / "openclipart"))
        groups = series(described(drawings)) if apart == "series" else of_one_title(drawings)
        held_out, rest = split(groups, test)
        (made / "images").mkdir(parents=True)
        numbered = {d.png: f"images/{i:04}.png" for i, d in enumerate([*held_out, *rest])}
        _shrink({png: made / name for png, name in numbered.items()})
        train, tested = ([(d.title, numbered[d.png]) for d in part] for part in (rest, held_out))
        write_split(made, ("text", "image"), train, tested)

    name = f"openclipart-{test}" if apart == "series" else f"openclipart-{apart}-{test}"
    return split_of(cached(name, make))


def read(folder: Path) -> Iterator[Drawing]:
    """All with a title, in the order of their names, but the largest; each file once."""
    seen: set[bytes] = set()
    for svg in sorted((folder / "svg").rglob("*.svg")):
        png = folder / "png" / svg.relative_to(folder / "svg").with_suffix(".png")
        work = next(
            (x for x in ElementTree.parse(svg).iter() if x.find(f"{DC}title") is not None), None
        )
        content = png.read_bytes()
        if work is None or content in seen or prod(unpack(">II", content[16:24])) > LARGEST:
            continue
        seen.add(content)
        creator = work.find(f"{DC}creator")
        author = plain(" ".join(creator.itertext())) if creator is not None else ""
        if title := _title(work.findtext(f"{DC}title") or ""):
            yield Drawing(title, author, png)


def _title(text: str) -> str:
    """Without the words that stand before each of one author's titles, and without underscores."""
    return plain(re.sub(r"^Clipart by .* - ", "", plain(text)).replace("_", " "))


def described(drawings: Iterable[Drawing]) -> list[Drawing]:
    """Those whose title has a word and is theirs, not that of a collection."""
    found = list(drawings)
    sharing = Counter(drawing.title.lower() for drawing in found)
    return [d for d in found if d.words and sharing[d.title.lower()] <= COLLECTION]


def series(drawings: list[Drawing]) -> list[list[Drawing]]:
    """Groups of pictures that their titles do not tell apart well."""
    parents = list(range(len(drawings)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    by_words: dict[frozenset[str], list[int]] = defaultdict(list)
    by_author: dict[str, list[int]] = defaultdict(list)
    for i, drawing in enumerate(drawings):
        by_words[drawing.words].append(i)
        by_author[drawing.author].append(i)
    alike = [(same[0], i) for same in by_words.values() for i in same[1:]]
    words = [drawing.words for drawing in drawings]
    alike += [
        (i, j)
        for own in by_author.values()
        for i, j in combinations(own, 2)
        if len(words[i] & words[j]) >= ALIKE * len(words[i] | words[j])
    ]
    for i, j in alike:
        parents[root(i)] = root(j)
    groups: dict[int, list[Drawing]] = defaultdict(list)
    for i, drawing in enumerate(drawings):
        groups[root(i)].append(drawing)
    return list(groups.values())


def of_one_title(drawings: Iterable[Drawing]) -> list[list[Drawing]]:
    """Groups of pictures with the same title, in whatever case."""
    groups: dict[str, list[Drawing]] = defaultdict(list)
    for drawing in drawings:
        groups[drawing.title.lower()].append(drawing)
    return list(groups.values())


def split(groups: list[list[Drawing]], test: int) -> tuple[list[Drawing], list[Drawing]]:
    """One picture of each of `test` groups, and all pictures of the other groups."""
    order = sorted(groups, key=lambda group: bucket(group[0].title, 2**32))
    return [group[0] for group in order[:test]], [d for group in order[test:] for d in group]


def _shrink(targets: dict[Path, Path]) -> None:
    from PIL import Image

    print(f"shrinking {len(targets)} pictures", file=sys.stderr, flush=True)

    def one(source: Path, target: Path) -> None:
        with Image.open(source) as image:
            small = image.convert("RGBA" if image.has_transparency_data else "RGB")
            small.thumbnail((SIDE, SIDE))
            small.save(target)

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, targets.keys(), targets.values()))
