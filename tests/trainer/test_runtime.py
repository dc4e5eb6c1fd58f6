"""`python -m embedtune_trainer` as the pod runs it: exit codes, last words, nothing left behind."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedtune_api.contract import MANIFEST, ExitCode, Metric, TrainResult
from tests.trainer import tiny
from tests.trainer.conftest import BUCKET, S3, free_ports

pytestmark = pytest.mark.slow


@dataclass
class Ended:
    """A run that has ended."""

    code: int
    result: TrainResult
    log: str

    @property
    def message(self) -> str:
        assert self.result.failure is not None
        return self.result.failure.message


class Pod:
    """What a training pod has: a home that is its work folder, a termination log, a port."""

    def __init__(self, folder: Path) -> None:
        self.work, self.last_word = folder / "work", folder / "termination-log"
        self.elsewhere = folder / "elsewhere"
        self.work.mkdir()
        self.elsewhere.mkdir()
        self.folder = folder
        (self.port,) = free_ports(1)

    def start(
        self, job: dict[str, Any] | str, env: dict[str, str] | None = None, patience_s: float = 2
    ) -> subprocess.Popen[str]:
        file = self.folder / "job.json"
        file.write_text(job if isinstance(job, str) else json.dumps(job))
        options = {
            "job": file,
            "work-dir": self.work,
            "termination-log": self.last_word,
            "metrics-port": self.port,
            "storage-patience-s": patience_s,
        }
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "embedtune_trainer",
                *(f"--{k}={v}" for k, v in options.items()),
            ],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.work),
                "TMPDIR": str(self.work),
                **(env or {}),
            },
            cwd=self.elsewhere,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        log, _ = process.communicate(timeout=60)
        assert not list(self.elsewhere.iterdir())
        result = TrainResult.model_validate_json(self.last_word.read_text())
        return Ended(process.returncode, result, log)

    def run(self, job: dict[str, Any] | str, env: dict[str, str] | None = None) -> Ended:
        return self.ended(self.start(job, env))

    def metric(self, name: str) -> float | None:
        """A gauge's value, None while nothing is served."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
                lines = page.read().decode().splitlines()
        except OSError:
            return None
        return next((float(x.split()[1]) for x in lines if x.startswith(f"{name} ")), None)


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def job_without_output() -> dict[str, Any]:
    job = job_for("file:///none.csv", Path("/o"))
    job["spec"].pop("output")
    return job


def job_for(train: str, output: Path, **spec: Any) -> dict[str, Any]:
    """A job whose backbone does not matter, since its data is read first."""
    return tiny.job("file:///no/backbone", train, f"file://{output}", **spec)


ROWS = [("a cat", "animal"), ("a dog", "animal"), ("paris", "city"), ("rome", "city")]
HEAD = b"text,label\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEAD + b"a cat,animal\na dog,\nrome,city\n", ["row 3", "label", "blank"]),
        (HEAD + b"a cat,animal\n  ,animal\nrome,city\n", ["row 3", "text", "blank"]),
        (HEAD + b"a cat,animal\na, dog,animal\nrome,city\n", ["row 3", "3", "2"]),
        (HEAD + b"a cat,animal\nrome\nrome,city\n", ["row 3", "1", "2"]),
        (HEAD + b"a cat,animal\na dog,animal\n", ["class", "animal"]),
        (HEAD, ["no rows"]),
        (b"", ["no rows"]),
        (HEAD + "un café,lieu\n".encode("latin-1"), ["utf-8", "spec.data.train.csv.encoding"]),
    ],
    ids=["blank label", "blank text", "long", "short", "one class", "header", "empty", "encoding"],
)
def test_bad_data(content: bytes, words: list[str], pod: Pod, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    ended = pod.run(job_for(f"file://{tmp_path}/train.csv", tmp_path / "out"))
    assert ended.code == ExitCode.BAD_DATA, ended.log
    assert ended.result.failure is not None
    assert ended.result.failure.reason == "BadData"
    for word in [f"file://{tmp_path}/train.csv", *words]:
        assert word in ended.message
    assert "Traceback" not in ended.log
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob(MANIFEST))


def test_a_missing_object(pod: Pod, s3: S3) -> None:
    ended = pod.run(tiny.job(s3.uri("base"), s3.uri("none.csv"), s3.uri("out")), s3.env)
    assert ended.code == ExitCode.NOT_FOUND, ended.log
    assert ended.message.startswith(f"spec.data.train.uri: {s3.uri('none.csv')}: ")


def test_wrong_credentials(pod: Pod, s3: S3) -> None:
    env = s3.env | {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}
    ended = pod.run(tiny.job(s3.uri("base"), s3.uri("train.csv"), s3.uri("out")), env)
    assert ended.code == ExitCode.ACCESS_DENIED, ended.log
    assert ended.message.startswith(f"spec.output.uri: {s3.uri('out')}/default/tiny/local/: ")
    assert "secretRef" in ended.message
    assert "wrong-secret" not in ended.log


def test_an_endpoint_that_does_not_answer(pod: Pod) -> None:
    job = tiny.job("s3://bases/tiny", "s3://data/train.csv", "s3://models/out")
    ended = pod.run(job, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    assert ended.code == ExitCode.STORAGE_UNAVAILABLE, ended.log
    assert not ExitCode(ended.code).final
    assert "http://127.0.0.1:1 (from AWS_ENDPOINT_URL) does not answer" in ended.message


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"metadata": {"name": "x"}, "spec": {}}, "spec.model: required field is missing"),
        (job_for("s3://data/x", Path("/o"), training={"epochs": 0}), "spec.training.epochs: "),
        (job_without_output(), "spec.output.uri: required where no runtime gives one"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
    ],
)
def test_a_bad_spec(job: dict[str, Any] | str, words: str, pod: Pod) -> None:
    ended = pod.run(job)
    assert ended.code == ExitCode.BAD_SPEC
    assert words in ended.message


def test_an_output_that_cannot_be_written_is_found_first(pod: Pod, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = pod.run(job_for("file:///none.csv", tmp_path / "file"))
    assert ended.code == ExitCode.NOT_FOUND
    assert ended.message.startswith("spec.output.uri: ")


def test_a_model_comes_out(pod: Pod, s3: S3, tiny_backbone: Path, tmp_path: Path) -> None:
    rows = tiny.rows()
    job = tiny.job(
        s3.put_folder("bases/tiny", tiny_backbone),
        s3.put("data/train.csv", tiny.write_csv(tmp_path / "t", rows[:120]).read_bytes()),
        s3.uri("tuned"),
    )
    test = s3.put("data/test.csv", tiny.write_csv(tmp_path / "t", rows[120:]).read_bytes())
    job["metadata"]["uid"] = "1234"
    job["spec"]["data"]["evaluation"] = {
        "queries": {"uri": test},
        "index": job["spec"]["data"]["train"],
        "metric": "map",
    }
    ended = pod.run(job, s3.env)
    assert ended.code == ExitCode.DONE, ended.log
    model, metrics = ended.result.model, ended.result.metrics
    assert model is not None
    assert metrics is not None
    assert model.uri == s3.uri("tuned/default/tiny/1234/")
    assert float(metrics.headline.after or 0) > float(metrics.headline.before)
    assert (ended.result.train_seconds or 0) > 0
    there = s3.names("tuned/default/tiny/1234")
    assert sum(there.values()) == model.size_bytes
    manifest = s3.client.get_object(BUCKET, f"{s3.prefix}/tuned/default/tiny/1234/{MANIFEST}")
    assert model.digest == "sha256:" + hashlib.sha256(manifest.read()).hexdigest()
    assert "progress=100% epoch=2/2" in ended.log
    pod.last_word.unlink()  # as if the pod had been lost before it could say so
    s3.put("tuned/default/tiny/1234/checkpoints/0000000001/state.json", b"{}")
    again = pod.run(job, s3.env)
    assert again.code == ExitCode.DONE, again.log
    assert again.result == ended.result
    assert "the model is there already" in again.log
    assert "phase=" not in again.log
    assert s3.names("tuned/default/tiny/1234") == there


def test_sigterm_while_waiting_for_storage(pod: Pod, silent_endpoint: str) -> None:
    job = tiny.job("s3://bases/tiny", "s3://data/train.csv", "s3://models/out")
    process = pod.start(job, {"AWS_ENDPOINT_URL": silent_endpoint}, patience_s=60)
    while pod.metric(Metric.STEPS) is None:
        time.sleep(0.1)
    time.sleep(1)  # by now it waits for an answer
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    ended = pod.ended(process)
    assert time.monotonic() - began < 30
    assert (ended.code, ended.result.failure and ended.result.failure.reason) == (81, "Interrupted")


def test_sigterm_in_mid_training(pod: Pod, tiny_backbone: Path, tmp_path: Path) -> None:
    train = tiny.write_csv(tmp_path / "train.csv", tiny.rows())
    job = tiny.job(
        f"file://{tiny_backbone}",
        f"file://{train}",
        f"file://{tmp_path}/out",
        training={"epochs": 10_000, "batchSize": 32},
    )
    process = pod.start(job)
    deadline = time.monotonic() + 60
    while not pod.metric(Metric.STEP) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    ended = pod.ended(process)
    assert time.monotonic() - began < 30
    assert (ended.code, ended.result.failure and ended.result.failure.reason) == (81, "Interrupted")
    assert ended.result.model is None
    assert not list((tmp_path / "out").rglob(MANIFEST))
    assert len(list((tmp_path / "out").rglob("checkpoints/*/checkpoint.json"))) == 1
    assert "progress=" in ended.log
