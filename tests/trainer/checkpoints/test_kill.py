"""A run that is killed, or told to stop, and taken up again gives the very same weights.

The long version, with 20 kills of each kind, is `python -m tests.trainer.checkpoints.kill`.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.checkpoints import keeper as keeper_module
from embedtune_trainer.errors import BadSpec, Interrupted
from embedtune_trainer.progress import FanOut
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from tests.trainer import tiny
from tests.trainer.checkpoints.kill import newest, weights
from tests.trainer.checkpoints.kinds import KINDS, prepared, put_out

FATAL = {"labelled": 17, "pairs": 15, "text-image": 22}
"""Steps in mid-epoch, so that mined negatives are taken up, too."""
BEHIND = 6
"""Steps: of the last two checkpoints before the kill, the storage has one."""


class Counting:
    """Tells the run to stop before a step."""

    def __init__(self, last: int | None = None) -> None:
        self.last, self.done, self.notes = last, 0, []

    def __call__(self) -> bool:
        return self.done == self.last

    def step(self, step: int, *_: Any) -> None:
        self.done = step

    def note(self, message: str, **facts: object) -> None:
        self.notes.append((message, facts))

    def phase(self, *_: Any) -> None:
        pass

    start = measured = phase

    def begun_at(self) -> object:
        found = [facts["step"] for m, facts in self.notes if m == "going on from a checkpoint"]
        return found[0] if found else None


def run_here(job: dict[str, Any], work: Path, last: int | None = None) -> Counting:
    """A run in this process, told to stop after a step if one is given."""
    told = Counting(last)
    store = open_storage(StorageSpec(), Event(), RetryPolicy())
    run(FineTuneJob.parse(job), store, work, FanOut((told,)), told)
    return told


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A kind, its job and folder, and what comes out without an interruption."""
    folder = tmp_path_factory.mktemp("kill") / "run"
    job = prepared(request.param, folder)
    run_here(put_out(job, folder / "whole"), folder / "work")
    return request.param, job, folder, weights(folder / "whole")


@pytest.mark.slow
def test_killed_and_taken_up_again(whole: Any) -> None:
    kind, job, folder, expected = whole
    out = folder / "killed"
    file = tiny.write_job(folder / "job.json", put_out(job, out))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.trainer.checkpoints.killed"),
            *("--behind", str(BEHIND), str(FATAL[kind]), "0", "run", str(file)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    there = newest(out)
    assert there >= FATAL[kind] - BEHIND
    told = run_here(put_out(job, out), folder / "work-2")
    assert told.begun_at() == there
    assert weights(out) == expected
    assert not list(out.rglob("checkpoints"))


@pytest.mark.slow
def test_told_to_stop_it_leaves_a_checkpoint_of_that_very_step(whole: Any) -> None:
    _, job, folder, expected = whole
    out = folder / "stopped"
    job = put_out(job, out)
    job["spec"] = {**job["spec"], "runPolicy": {}}
    for number, last in enumerate((14, 15, None)):
        work = folder / f"stopped-{number}"
        if last is None:
            told = run_here(job, work)
        else:
            with pytest.raises(Interrupted):
                run_here(job, work, last)
            assert newest(out) == last
    assert told.begun_at() == 15
    assert weights(out) == expected


def test_another_spec_or_other_data_is_refused(tmp_path: Path) -> None:
    job = prepared("labelled", tmp_path / "run")
    with pytest.raises(Interrupted):
        run_here(job, tmp_path / "work", 5)
    data = (tmp_path / "run/train.csv").read_text()
    (tmp_path / "run/train.csv").write_text(data.replace("cat", "dog", 1))
    changed = json.loads(json.dumps(job))
    changed["spec"]["training"]["learningRate"] = 2e-3
    with pytest.raises(BadSpec) as raised:
        run_here(changed, tmp_path / "work")
    message = str(raised.value)
    assert "spec.training.learningRate was 0.001, is 0.002" in message
    assert "the rows of spec.data.train are not the same" in message
    assert "to begin anew" in message


@pytest.mark.slow
def test_told_to_stop_while_the_last_step_is_measured(tmp_path: Path) -> None:
    """No step is taken again, and what was due is measured."""
    job = prepared("labelled", tmp_path / "run")
    run_here(put_out(job, tmp_path / "whole"), tmp_path / "work")
    job = put_out(job, tmp_path / "stopped")
    job["spec"]["runPolicy"] = {}
    with pytest.raises(Interrupted):
        run_here(job, tmp_path / "work-1", 45)
    assert newest(tmp_path / "stopped") == 45
    run_here(job, tmp_path / "work-2")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert report(tmp_path / "stopped") == report(tmp_path / "whole")


def test_what_fails_after_the_training_costs_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "LAST_WORTH_S", 0.0)
    monkeypatch.setattr("embedtune_trainer.course.stage", Mock(side_effect=OSError("disk full")))
    job = prepared("labelled", tmp_path / "run")
    job["spec"]["runPolicy"] = {}
    with pytest.raises(OSError, match="disk full"):
        run_here(job, tmp_path / "work")
    assert newest(tmp_path / "run/out") == 44


def report(out: Path) -> object:
    """What training.json says of the training."""
    (file,) = out.rglob("training.json")
    return json.loads(file.read_text())["report"]
