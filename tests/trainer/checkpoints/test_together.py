"""`embedtune run` by torchrun: two processes give what one gives, and all end together."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from embedtune_api.contract import ExitCode, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.artifact import verify
from embedtune_trainer.progress import FanOut
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from tests.trainer import tiny
from tests.trainer.checkpoints.kill import newest, weights
from tests.trainer.checkpoints.kinds import prepared, put_out

pytestmark = pytest.mark.slow
MODEL = "default/tiny/local"
ARRANGED = "tests.trainer.checkpoints.arranged"
CLI = "embedtune_trainer.cli"
LAUNCH = "embedtune_trainer.launch"
MORE = {
    "labelled": {"epochs": 2},
    "pairs": {"epochs": 3, "accumulate": 2},
    "text-image": {"epochs": 2},
}
PATIENCE_S = 60
"""For starting, on a machine that has much else to do; what they wait for at most is longer."""


@dataclass
class Ended:
    """What torchrun ended with."""

    code: int
    out: str
    said: str
    seconds: float


def torchrun(*arguments: object, launcher: str = LAUNCH) -> Ended:
    """Two processes on this machine."""
    begun = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", launcher, "--standalone", "--nproc-per-node", "2"),
            *("--local-addr", "127.0.0.1", "-m", *map(str, arguments)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)


def without_dropout(kind: str, folder: Path, **training: object) -> dict[str, Any]:
    """A job whose processes draw nothing at random and round alike: their number changes nothing.

    In bfloat16 a text's embedding depends on those beside it in its part.
    """
    job = prepared(kind, folder)
    config = folder / "base/config.json"
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps(json.loads(config.read_text()) | none))
    exact = {"optimizer": "SGD", "learningRate": 0.05, "precision": "float32"}
    job["spec"]["training"] |= {**exact, **training}
    return job


@pytest.fixture(scope="module", params=MORE)
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A job, its folder, and how two processes ended that ran it."""
    folder = tmp_path_factory.mktemp("together") / "run"
    job = without_dropout(request.param, folder, **MORE[request.param])
    file = tiny.write_job(folder / "job.json", put_out(job, folder / "two"))
    return job, folder, torchrun(CLI, "run", file, "--json")


def test_two_processes_give_what_one_gives(two: Any) -> None:
    job, folder, ended = two
    assert ended.code == 0, ended.said
    found = TrainResult.model_validate_json(ended.out)
    store = open_storage(StorageSpec(), Event(), RetryPolicy())
    alone_job = FineTuneJob.parse(put_out(job, folder / "one"))
    alone = run(alone_job, store, folder / "work", FanOut(()), lambda: False)
    for side in ("before", "after"):
        expected = {n: float(v) for n, v in getattr(alone.metrics, side).items()}
        got = {n: float(v) for n, v in getattr(found.metrics, side).items()}
        assert got == pytest.approx(expected, abs=1e-4)
    files = [verify(folder / n / MODEL).files for n in ("one", "two")]
    sizes = [{n: f.size for n, f in of.items() if n != "training.json"} for of in files]
    assert sizes[0] == sizes[1]
    one, other = (_tensors(folder / n / MODEL) for n in ("one", "two"))
    assert one.keys() == other.keys()
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-6
    losses = [_losses(folder / n / MODEL) for n in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert ended.said.count("published uri=") == 1
    assert ended.said.count("phase=Exporting") == 1
    assert ended.said.count("ready train_rows=") == 1
    assert not list((folder / "two").rglob("checkpoints"))


def _tensors(model: Path) -> dict[str, Tensor]:
    """All of its files', by file and name."""
    found = {path.relative_to(model): load_file(path) for path in model.rglob("*.safetensors")}
    return {f"{path}: {name}": x for path, of in found.items() for name, x in of.items()}


def _losses(model: Path) -> tuple[float, float]:
    """Of the first and of the last step."""
    report = json.loads((model / "training.json").read_text())["report"]
    return report["first_loss"], report["last_loss"]


def test_told_to_stop_they_leave_one_checkpoint_and_go_on_from_it(two: Any) -> None:
    job, folder, whole = two
    out = folder / "stopped"
    job = put_out(job, out)
    job["spec"] = {**job["spec"], "runPolicy": {}}
    file = tiny.write_job(folder / "stopped.json", job)
    ended = torchrun(ARRANGED, "sigterm", 1, 5, "run", file)
    assert ended.code == ExitCode.INTERRUPTED, ended.said
    assert ended.said.count("checkpoint written") == 1, ended.said
    last_words = [line for line in ended.said.splitlines() if line.startswith("embedtune:")]
    assert len(last_words) == 1, "only one of them tells"
    there = newest(out)
    assert 5 <= there <= 8
    assert there % job["spec"]["training"].get("accumulate", 1) == 0
    again = torchrun(CLI, "run", file, launcher="torch.distributed.run")
    assert again.code == 0, again.said
    assert again.said.count(f"going on from a checkpoint step={there}") == 1
    assert weights(out) == weights(folder / "two")
    assert whole.code == 0


@dataclass
class Pod:
    """Two processes as a pod runs them."""

    folder: Path
    job: dict[str, Any]

    def run(self, *arranged: object) -> tuple[Ended, TrainResult]:
        file = tiny.write_job(self.folder / "job.json", self.job)
        last_word = self.folder / "termination-log"
        last_word.touch()
        paths = (f"--job={file}", f"--work-dir={self.folder}", f"--termination-log={last_word}")
        ended = torchrun(ARRANGED, *arranged, *paths, "--metrics-port=0")
        return ended, TrainResult.model_validate_json(last_word.read_text())


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path, without_dropout("labelled", tmp_path / "run", epochs=50))


def test_a_process_that_fails_ends_the_other_with_its_word(pod: Pod) -> None:
    ended, result = pod.run("raise", 1, 3)
    assert ended.code == ExitCode.INTERNAL_ERROR, ended.said
    assert result.failure is not None
    assert result.failure.message.endswith("something is wrong in this process alone")
    assert ended.seconds < PATIENCE_S
    assert not list((pod.folder / "run/out").rglob("manifest.json"))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_other(rank: int, pod: Pod) -> None:
    ended, result = pod.run("kill", rank, 3)
    assert ended.code == 137, ended.said
    assert result.failure is not None
    assert result.failure.reason == "PeerLost"
    assert "another process" in result.failure.message
    assert ended.seconds < PATIENCE_S


def test_what_the_main_process_finds_ends_all(pod: Pod) -> None:
    ended, result = pod.run("nan", 1, 3)
    assert ended.code == ExitCode.DIVERGED, ended.said
    assert result.failure is not None
    assert result.failure.reason == "Diverged"
    assert ended.seconds < PATIENCE_S
