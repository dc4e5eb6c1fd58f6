"""Thousands of jobs on 100 nodes of KWOK's: PYTHONPATH=local python bench/scale.py

The operator beside Kubeflow's two, and beside plain Jobs. Each has a control plane of its own and
is put through the same stages (scale_parts/stages.py): 1,000 jobs at 20 and at 100 a second, then
up to 10,000 resident jobs with 20 a second coming and going. It takes an hour. Writes
bench/results/scale.json, the tables of docs/scale.md and its picture; --only renews the part of one
system. Ends with 1 if a goal is missed.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scale_parts import results
from scale_parts.embedtune import EMBEDTUNE
from scale_parts.kubeflow import KUBEFLOW
from scale_parts.plain import PLAIN
from scale_parts.probe import PROBE
from scale_parts.stages import Plan, Stage, measure

from localcluster.tools import build

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = {
    system.name: system
    for system in (EMBEDTUNE, PLAIN, *KUBEFLOW, PROBE, EMBEDTUNE.alone(), PROBE.alone())
}
CLUSTER_TOOLS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubectl", "kwok"),
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--only", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parse.add_argument("--results", type=Path, default=results.RESULTS, help="the JSON file")
    parse.add_argument("--keep", type=Path, help="keep the clusters' files and logs here")
    parse.add_argument("--no-document", action="store_true", help="leave docs/scale.md as it is")
    for each in fields(Plan):
        default: Any = each.default
        many = isinstance(default, tuple)
        kind = type(default[0] if many else default)
        parse.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=float if kind is float or "rate" in each.name else kind,
            default=default,
            nargs="*" if many else None,
        )
    return parse


def say(system: str, stage: Stage) -> None:
    """A line about a stage that is over."""
    parts = [f"{system}: {stage.kind} of {stage.jobs} beside {stage.resident}"]
    parts += [f"{stage.seconds:.0f} s, {100 * stage.busy:.0f}% busy"]
    for role, spread in stage.started.items():
        parts.append(f"to {role} p50 {spread.p50} p99 {spread.p99} ({spread.missing} missing)")
    if stage.ended is not None:
        parts.append(f"ended p50 {stage.ended.p50} p99 {stage.ended.p99}")
    print(" · ".join(parts), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, check the goals, write; the exit code."""
    given = parser().parse_args(arguments)
    asked: dict[str, Any] = {
        each.name: tuple(value) if isinstance(value, list) else value
        for each in fields(Plan)
        for value in (getattr(given, each.name),)
    }
    plan = Plan(**asked)
    systems = [SYSTEMS[name] for name in given.only]
    build((*CLUSTER_TOOLS, *(tool for system in systems for tool in system.tools)))
    kept = results.read(given.results)
    for system in systems:
        with folder_of(system.name, given.keep) as folder:
            found = asyncio.run(measure(system, folder, plan, say))
        found |= {"plan": asdict(plan), "machine": machine(), "command": command(arguments)}
        kept[system.name] = found
        results.write(given.results, {name: kept[name] for name in SYSTEMS if name in kept})
    goals = results.goals(kept[EMBEDTUNE.name]) if EMBEDTUNE.name in kept else []
    for goal in goals:
        print(goal.line)
    if not given.no_document:
        results.document(kept)
    return 0 if all(goal.met for goal in goals) else 1


@contextmanager
def folder_of(name: str, keep: Path | None) -> Iterator[Path]:
    """A folder for a cluster's files; below `keep` it stays, with the logs."""
    if keep is not None:
        folder = keep / name
        folder.mkdir(parents=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="embedtune-scale-") as temporary:
        yield Path(temporary)


def machine() -> str:
    """What it ran on, and when."""
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.platform()}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, load {load:.1f} at the end"
    )


def command(arguments: Sequence[str] | None) -> str:
    """How it was asked for."""
    words = sys.argv[1:] if arguments is None else arguments
    return " ".join(["PYTHONPATH=local python bench/scale.py", *words])


if __name__ == "__main__":
    sys.exit(main())
