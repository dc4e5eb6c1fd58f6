"""Each example run as it stands on this machine: metrics before and after, speed, data wait.

The share of the time in which the model waited for data tells whether reading, tokenising and
decoding keep up with the step.
"""

import argparse
import logging
import os
import platform
from pathlib import Path

import torch
from running import Outcome, run_example

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "bench/results/examples.md"
SHOWN = (
    *("precision_at_1", "recall_at_1", "recall_at_5", "recall_at_10", "ndcg_at_10", "map"),
    *("image_to_text_recall_at_1", "image_to_text_recall_at_10"),
)


def section(name: str, outcome: Outcome) -> str:
    """One example as Markdown."""
    lines = [f"## {name}", "", f"| {outcome.loss} | before | after |", "|---|---|---|"]
    lines += [
        f"| {metric} | {outcome.before[metric]:.3f} | {outcome.after[metric]:.3f} |"
        for metric in SHOWN
        if metric in outcome.before
    ]
    lines += [
        "",
        f"{outcome.rows:,} rows in {outcome.seconds:.0f} s"
        f" ({outcome.rows / outcome.seconds:.0f} rows/s);"
        f" the model waited for data {outcome.wait_s / outcome.seconds:.1%} of the time.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run them and write it down; those that are not run keep what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of examples/NAME.yaml; none: all")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    files = sorted((ROOT / "examples").glob("*.yaml"))
    kept = written()
    for file in files:
        if not options.names or file.stem in options.names:
            load = os.getloadavg()[0]
            kept[file.stem] = (
                section(file.stem, run_example(file)) + f"Load before it: {load:.1f}.\n"
            )
            write({f.stem: kept[f.stem] for f in files if f.stem in kept})


def written() -> dict[str, str]:
    """The sections that are there, by example."""
    if not RESULT.exists():
        return {}
    parts = RESULT.read_text().split("\n## ")[1:]
    return {part.split("\n")[0]: f"## {part.strip()}\n" for part in parts}


def write(sections: dict[str, str]) -> None:
    """All of them, under one head."""
    head = (
        "# The examples, as they stand\n\n"
        "Command: `PYTHONPATH=local python bench/examples.py [NAME...]` on"
        f" {platform.platform()}, {os.cpu_count()} cores; torch {torch.__version__}.\n"
    )
    RESULT.write_text("\n".join((head, *sections.values())))


if __name__ == "__main__":
    main()
