"""One example run to its end in this process, by the code that a pod runs."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from embedtune_api.job import FineTuneJob
from embedtune_trainer.jobfile import read_job, with_s3_root
from embedtune_trainer.progress import LogReporter
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from localassets.catalogue import ASSETS, named_in


@dataclass(frozen=True)
class Outcome:
    """What came out of one run.

    Attributes:
        headline: the metric that the status shows.
        before: all metrics, before training.
        after: the same after it.
        rows: that the steps saw, repeats counted.
        seconds: from the first step's begin to the last one's end.
        wait_s: those of them in which the model waited for data.
        loss: the objective's name.
    """

    headline: str
    before: dict[str, float]
    after: dict[str, float]
    rows: int
    seconds: float
    wait_s: float
    loss: str


class Waiting(LogReporter):
    """A log that sums up what the steps waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0
        self.wait_s = 0.0

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        """Count, and log."""
        self.rows += rows
        self.wait_s += data_wait_s
        super().step(step, epoch, loss, rows, data_wait_s)


def run_example(file: Path, seed: int | None = None) -> Outcome:
    """Run it as it stands, on its assets; `seed` in place of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for key in named_in(file):
            link = folder / "s3" / key
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(ASSETS[key]())
        job = with_s3_root(read_job(file), folder / "s3")
        if seed is not None:
            data = job.trainer_input()
            data["spec"].setdefault("training", {})["seed"] = seed
            job = FineTuneJob.parse(data)
        store = open_storage(job.spec.storage, Event(), RetryPolicy())
        reporter = Waiting()
        result = run(job, store, folder / "work", reporter, lambda: False)
        told = json.loads((folder / "work/model/training.json").read_text())
    assert result.metrics is not None
    assert result.train_seconds is not None
    sides = (
        {name: float(value) for name, value in side.items()}
        for side in (result.metrics.before, result.metrics.after)
    )
    return Outcome(
        result.metrics.headline.name,
        *sides,
        reporter.rows,
        result.train_seconds,
        reporter.wait_s,
        " and ".join(dict.fromkeys(entry["loss"] for entry in told["report"]["data"])),
    )
