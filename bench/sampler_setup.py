"""Setting up batches of 1,000,000 rows: seconds, and memory beyond the rows themselves.

Each line is a process of its own: it makes the rows, sets the kernel's high-water mark of its
memory back, does the one thing, and reads the mark. The rows are made anew each time, so that
nothing is known of them beforehand.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from embedtune_trainer.batches.interleave import Interleaving
from embedtune_trainer.batches.pairs import RandomSampler
from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.batches.sampler import ClassSampler
from embedtune_trainer.batches.split import split_rows
from embedtune_trainer.rows.table import LabelledRows, PairRows, Texts

RESULT = Path(__file__).parent / "results" / "sampler_setup.md"
ROWS, BATCH, ITEMS_PER_CLASS = 1_000_000, 64, 4
LIMIT_S, LIMIT_MB = 10, 1000


def labels(kind: str) -> np.ndarray:
    """Classes of 1,000,000 rows."""
    rng = np.random.default_rng(0)
    if kind == "small":  # about 333,000 classes of 1 to 9 rows
        return rng.integers(0, ROWS // 3, ROWS)
    if kind == "large":
        return rng.integers(0, 10, ROWS)
    return np.minimum(rng.zipf(1.3, ROWS), ROWS)


def labelled(kind: str) -> LabelledRows:
    """Texts of 40 characters or so; one in a hundred stands twice."""
    copies = np.random.default_rng(1).integers(0, ROWS, ROWS // 100)
    number = np.arange(ROWS)
    number[copies] = number[copies - 1]
    texts = Texts(f"the text of the row of number {i}" for i in number.tolist())
    return LabelledRows(texts, (f"class {c}" for c in labels(kind).tolist()), "bench")


def pairs(kind: str) -> PairRows:
    """Pairs of texts: each twice, or items drawn so that they hang together in groups."""
    rng = np.random.default_rng(2)
    if kind == "duplicates":
        left = right = rng.permutation(np.repeat(np.arange(ROWS // 2), 2))
    elif kind == "groups":  # each left item with about 4 right ones, each right one its own
        left, right = rng.integers(0, ROWS // 4, ROWS), np.arange(ROWS)
    elif kind == "chain":  # item i with item i + 1: one group, joined as slowly as can be
        left = rng.permutation(ROWS)
        right = left + 1
        return _texts_of_pairs(left, right, "item", "item")
    else:
        left, right = np.minimum(rng.zipf(1.5, ROWS), ROWS), np.minimum(rng.zipf(1.5, ROWS), ROWS)
    return _texts_of_pairs(left, right, "question", "answer")


def _texts_of_pairs(left: np.ndarray, right: np.ndarray, one: str, other: str) -> PairRows:
    return PairRows(
        Texts(f"the {one} of the number {i}" for i in left.tolist()),
        Texts(f"the {other} of the number {i}" for i in right.tolist()),
        "bench",
    )


def classes(kind: str) -> Callable[[], object]:
    """What makes a ClassSampler and its first epoch."""
    rows = labelled(kind)

    def act() -> None:
        ClassSampler(rows.labels.numbers_N(), BATCH, ITEMS_PER_CLASS, 0).epoch(0)

    return act


def relation(kind: str) -> Callable[[], object]:
    """What numbers the items and finds the groups, and what is known of 1,000 batches."""
    rows = pairs(kind)

    def act() -> None:
        found = Relation.of(rows)
        found.groups_N()
        for batch in RandomSampler(ROWS, BATCH, 0).epoch(0)[:1000]:
            found.known(batch).rows(0, len(batch))

    return act


def split(kind: str) -> Callable[[], object]:
    """What holds out a tenth."""
    rows = pairs(kind) if kind in ("groups", "duplicates") else labelled(kind)
    return lambda: split_rows(rows, 0.1, 0)


CASES: dict[str, Callable[[], Callable[[], object]]] = {
    "ClassSampler, first epoch: 333,000 small classes": lambda: classes("small"),
    "ClassSampler, first epoch: 10 large classes": lambda: classes("large"),
    "ClassSampler, first epoch: power law": lambda: classes("power"),
    "RandomSampler, first epoch": lambda: lambda: RandomSampler(ROWS, BATCH, 0).epoch(0),
    "Interleaving of 4 entries, first epoch": lambda: (
        lambda: Interleaving([ROWS // BATCH // 4] * 4, [1, 2, 3, 4], 0).epoch(0)
    ),
    "Relation, groups: every pair twice": lambda: relation("duplicates"),
    "Relation, groups: 4 answers a question": lambda: relation("groups"),
    "Relation, groups: power law on both sides": lambda: relation("power"),
    "Relation, groups: a chain of 1,000,000": lambda: relation("chain"),
    "split: 333,000 small classes": lambda: split("small"),
    "split: 10 large classes": lambda: split("large"),
    "split: power law": lambda: split("power"),
    "split: pairs, 4 answers a question": lambda: split("groups"),
}


def measured(name: str) -> dict[str, float]:
    """Run one case in this process."""
    act = CASES[name]()
    Path("/proc/self/clear_refs").write_text("5")
    before_mb = _status("VmRSS")
    begun = time.perf_counter()
    act()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "mb": _status("VmHWM") - before_mb, "rows_mb": before_mb}


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def main() -> int:
    """Run every case in a process of its own and write the table; 1 if one is over the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", choices=CASES, help="a case, its figures as JSON")
    one = parser.parse_args().one
    if one:
        sys.stdout.write(json.dumps(measured(one)))
        return 0
    found = {}
    for name in CASES:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name], capture_output=True, text=True, check=True
        )
        found[name] = json.loads(done.stdout)
        sys.stderr.write(f"{name}: {done.stdout}\n")
    lines = [f"| {n} | {f['seconds']:.2f} | {max(0, f['mb']):.0f} |" for n, f in found.items()]
    load = Path("/proc/loadavg").read_text().split()[0]
    RESULT.write_text(
        f"""# Setting up batches of {ROWS:,} rows

| what | seconds | MB beyond the rows |
|---|---|---|
{chr(10).join(lines)}

Bounds: {LIMIT_S} s and {LIMIT_MB} MB. Batches of {BATCH}, {ITEMS_PER_CLASS} items per class; texts\
 of about 40 characters; each line in a process of its own, with the identities of all items found\
 anew where they are needed.

Command: `python bench/sampler_setup.py` on {platform.platform()}, load {load}; Python\
 {platform.python_version()}, numpy {np.__version__}.
"""
    )
    return int(any(f["seconds"] > LIMIT_S or f["mb"] > LIMIT_MB for f in found.values()))


if __name__ == "__main__":
    sys.exit(main())
