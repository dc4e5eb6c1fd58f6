"""Quality beside the best peer on five data sets: the same data, steps, batch, rate, schedule.

    trec        sentence-transformers' trainer, BatchSemiHardTripletLoss, GROUP_BY_LABEL
    arxiv       the same, MultipleNegativesRankingLoss, NO_DUPLICATES
    wordnet     the same, on 6,000 pairs
    cifar10     pytorch-metric-learning's usual loop: MPerClassSampler, its semi-hard miner
    openclipart open_clip's ClipLoss in a plain loop over the same two towers and projections

Settings are those of examples/NAME.yaml, but for fewer rows of WordNet and fewer epochs of
openclipart. Before training both sides must embed alike; one code judges both, checked against
scikit-learn.
The systems take turns over the seeds. The goal is to be below the peer in no metric: the exit code
is 1 where ours is by more than the seeds' spread explains, as quality_sets.verdict.verdict decides
(Welch's one-sided t-test, 5 %).

Each finished training is in the journal at once; a run that was cut off goes on behind it, and what
is finished is forgotten there once its section is written. Sections of sets that are not run again
keep what was written.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import sections
import torch
from quality_sets.cifar import cifar10
from quality_sets.clipart import openclipart
from quality_sets.comparison import Comparison
from quality_sets.journal import Journal, packages
from quality_sets.texts import arxiv, trec, wordnet
from quality_sets.turns import all_trained
from quality_sets.verdict import BELOW, table, verdicts

from localassets import cache_dir

RESULTS = Path(__file__).parent / "results"
SETS: dict[str, Callable[[int | None], Comparison]] = {
    "trec": trec,
    "arxiv": arxiv,
    "wordnet": wordnet,
    "cifar10": cifar10,
    "openclipart": openclipart,
}
HEAD = (
    "# Quality beside the best peers\n\nMeans over the seeds, with the least and the greatest;"
    " metrics on rows that were not trained on. `embedtune is` below or above where the difference"
    " is more than the seeds' spread explains (Welch's one-sided t-test, 5 %). The seconds are no"
    " measurement of speed: nothing watched what else the machine did.\n"
)


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Parsed; a try with fewer rows must not write over the results."""
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parse.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parse.add_argument("--threads", type=int, default=os.cpu_count())
    parse.add_argument("--limit", type=int, help="training rows, to try it; needs --out")
    parse.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    parse.add_argument("--journal", type=Path, default=cache_dir().parent / "quality.jsonl")
    options = parse.parse_args(arguments)
    if options.limit is not None and options.out == RESULTS:
        parse.error("--limit is for trying: name another folder by --out")
    return options


def section(
    name: str, comparison: Comparison, options: argparse.Namespace, journal: Journal
) -> tuple[str, bool]:
    """One data set's part of the result, and whether ours is below in nothing."""
    before = comparison.before(options.seeds[0])
    ours, theirs = all_trained(name, comparison, options.seeds, journal)
    seeds = " ".join(map(str, options.seeds))
    limited = "" if options.limit is None else f" --limit {options.limit}"
    versions = ", ".join(f"{package} {number}" for package, number in packages().items())
    command = f"bench/quality.py --sets {name} --seeds {seeds}{limited}"
    text = (
        f"## {name}\n\n{comparison.title}. Seeds {seeds}.\n\n"
        f"{table(before, ours, theirs, comparison.peer)}\n\n"
        f"Command: `PYTHONPATH=local python {command}` on {platform.platform()},"
        f" {os.cpu_count()} cores, {options.threads} threads,"
        f" {datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}.\n"
    )
    return text, BELOW not in verdicts(ours, theirs).values()


def main(arguments: list[str]) -> int:
    """Run the comparisons and write them down; 1 if ours is below in any."""
    options = options_of(arguments)
    torch.set_num_threads(options.threads)
    journal = Journal(options.journal, threads=options.threads, limit=options.limit)
    path = options.out / "quality.md"
    good = True
    for name in options.sets:
        text, fine = section(name, SETS[name](options.limit), options, journal)
        good &= fine
        sections.write(path, HEAD, {**sections.read(path), name: text}, SETS)
        journal.forget(name)
        print(text, flush=True)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
