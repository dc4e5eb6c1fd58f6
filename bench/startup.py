"""From the start of the process to the first step, the data and the model being local.

A job over TREC's questions and MiniLM, in a process of its own each time, by the code that a pod
runs. The process ends itself after its first step. It says when each phase began; what the model is
measured by before the training takes as long as the data ask for, and is told apart.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import localassets

RESULT = Path(__file__).parent / "results" / "startup.md"
GOAL_S = 8.0
Times = list[tuple[str, float]]


class Clock:
    """A reporter that notes when what began, and ends the process after a step."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self.times: Times = []

    def phase(self, name: str) -> None:
        """It begins now."""
        self.times.append((name, time.time() - self._begun))

    def start(self, steps: int, epochs: int) -> None:
        """Nothing."""

    def step(self, *_: float) -> None:
        """Tell and end."""
        self.phase("first step done")
        sys.stdout.write(json.dumps(self.times))
        sys.stdout.flush()
        os._exit(0)

    def measured(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def note(self, message: str, **facts: object) -> None:
        """Nothing."""


def child(folder: Path, begun: float) -> None:
    """Run the job in this process."""
    from threading import Event

    from embedtune_api.job import FineTuneJob
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage
    from embedtune_trainer.train import run

    job = FineTuneJob.parse(json.loads((folder / "job.json").read_text()))
    store = open_storage(job.spec.storage, Event(), RetryPolicy())
    run(job, store, folder / "work", Clock(begun), lambda: False)


def once(threads: int) -> Times:
    """The phases of one process, in seconds after its start."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = localassets.trec()
        spec = {
            "model": {"backbone": f"file://{localassets.minilm()}"},
            "data": {"train": {"uri": f"file://{data.train}"}},
            "training": {"epochs": 1, "batchSize": 64},
            "output": {"uri": f"file://{folder / 'out'}"},
        }
        job = {
            "apiVersion": "embedtune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "startup", "namespace": "bench", "uid": "startup"},
            "spec": spec,
        }
        (folder / "job.json").write_text(json.dumps(job))
        command = [sys.executable, __file__, "--child", scratch, "--begun", repr(time.time())]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=environment
        )
    return [(name, seconds) for name, seconds in json.loads(done.stdout[done.stdout.index("[") :])]


def without_evaluation(times: Times) -> float:
    """Seconds to the first step but for the phase Evaluating."""
    ends = [seconds for _, seconds in times[1:]]
    took = sum(end - t for (name, t), end in zip(times, ends, strict=False) if name == "Evaluating")
    return times[-1][1] - took


def main() -> int:
    """Measure and write it down; 1 if it takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.begun)
        return 1
    turns = [once(options.threads) for _ in range(options.turns)]
    found = [without_evaluation(times) for times in turns]
    lines = ["| began | seconds after the process's start |", "|---|---|"]
    lines += [
        f"| {name} | {median(times[i][1] for times in turns):.2f} |"
        for i, (name, _) in enumerate(turns[0])
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        "# From the start of the process to the first step\n\n" + "\n".join(lines) + "\n\n"
        f"Without the evaluation before the training: {median(found):.2f} s"
        f" ({min(found):.2f} to {max(found):.2f}; goal: at most {GOAL_S:g}). Medians of"
        f" {options.turns} processes.\n\nCommand: `PYTHONPATH=local python bench/startup.py` on"
        f" {platform.platform()}, {os.cpu_count()} cores, load before and during it"
        f" {os.getloadavg()[1]:.1f}; Python {platform.python_version()}.\n"
    )
    sys.stderr.write(options.out.read_text())
    return int(median(found) > GOAL_S)


if __name__ == "__main__":
    sys.exit(main())
