"""Each example run as it stands by the operator on the local cluster: metrics, speed, data wait.

The share of the time in which the model waited for data tells whether reading, tokenising and
decoding keep up with the step.
"""

import argparse
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import sections

from localdemo.follow import follow
from localdemo.setup import apply_anew, install_operator, job_name, user_data, user_namespace
from localdemo.site import ROOT, Site, local_site

RESULT = ROOT / "bench/results/examples.md"
SHOWN = (
    *("precision_at_1", "recall_at_1", "recall_at_5", "recall_at_10", "ndcg_at_10", "map"),
    *("image_to_text_recall_at_1", "image_to_text_recall_at_5", "image_to_text_recall_at_10"),
)
SPEED = re.compile(r"trained rows=(\S+) seconds=(\S+) rows_per_s=(\S+) data_wait=(\S+)")


def run(site: Site, file: Path) -> str:
    """One example to its end; its section in Markdown."""
    namespace, name = job_name(file)
    user_namespace(site, namespace)
    user_data(site, file)
    load = os.getloadavg()[0]
    apply_anew(site, file)
    if not follow(site.kubectl, namespace, name):
        raise RuntimeError(site.kubectl("describe", "ftj", name, "-n", namespace))
    status = json.loads(site.kubectl("get", "ftj", name, "-n", namespace, "-o", "json"))["status"]
    label = f"embedtune.dev/job-name={name}"
    log = site.kubectl("logs", "-n", namespace, "-l", label, "--tail=-1")
    found = SPEED.search(log)
    if found is None:
        raise RuntimeError(f"the log of {name} does not say how fast it was")
    rows, seconds, rows_per_s, wait = found.groups()
    before, after = status["metrics"]["before"], status["metrics"]["after"]
    lines = [f"## {file.stem}", "", "| | before | after |", "|---|---|---|"]
    lines += [f"| {m} | {before[m]} | {after[m]} |" for m in SHOWN if m in before]
    lines += [
        "",
        f"{int(rows):,} rows in {seconds} s ({rows_per_s} rows/s); the model waited for data"
        f" {wait} of the time. {datetime.now(UTC):%Y-%m-%d}, load before it {load:.1f}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run them and write it down; those that are not run keep what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of examples/NAME.yaml; none: all")
    options = parser.parse_args()
    files = sorted((ROOT / "examples").glob("*.yaml"))
    site = local_site()
    site.provide_images()
    install_operator(site)
    for file in files:
        if options.names and file.stem not in options.names:
            continue
        found = {**sections.read(RESULT), file.stem: run(site, file)}
        head = (
            "# The examples, as they stand\n\nCommand: `PYTHONPATH=local python bench/examples.py"
            f" [NAME...]` after `make images`, on the local cluster, {os.cpu_count()} cores.\n"
        )
        sections.write(RESULT, head, found, (f.stem for f in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
