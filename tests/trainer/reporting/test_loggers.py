"""spec.loggers: what the tools are told, and that no tool can hold up or end a run.

The tools' packages are stood for by modules that record; docs/report.md says how the real ones
were tried.
"""

import logging
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from embedtune_api.job import FineTuneJob
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.progress import FanOut
from embedtune_trainer.reporting.loggers import open_loggers
from embedtune_trainer.reporting.loggers.forward import Forwarder, Point
from embedtune_trainer.reporting.loggers.ml_flow import LONGEST, flat


def a_job(uid: str = "1234", **loggers: Any) -> FineTuneJob:
    return FineTuneJob.parse(
        {
            "metadata": {"name": "trec", "namespace": "team-a", "uid": uid},
            "spec": {
                "model": {"backbone": "s3://bases/mini"},
                "data": {"train": {"uri": "s3://data/" + "x" * 600}},
                "output": {"uri": "s3://models/tuned"},
                "loggers": loggers,
            },
        }
    )


def train(job: FineTuneJob, folder: Path, error: Exception | None = None) -> None:
    with open_loggers(job, folder, FanOut(())) as reporter:
        reporter.phase("Training")
        reporter.measured(0, 0, {"map": 0.25})
        reporter.start(2, 1)
        reporter.step(1, 1, 0.5, 64, 0.0)
        reporter.measured(1, 1, {"learning_rate": 0.1})
        reporter.note("words")
        if error is not None:
            raise error


class FakeWandb(ModuleType):
    """wandb, which remembers what it was called with."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__("wandb")
        self.error, self.logged, self.begun, self.exit_code = error, [], {}, None
        kinds = {name: type(name, (Exception,), {}) for name in ("Authentication", "Usage")}
        self.errors = SimpleNamespace(**{f"{name}Error": kind for name, kind in kinds.items()})
        self.Settings = dict

    def init(self, **arguments):
        if self.error is not None:
            raise self.error
        self.begun = arguments
        return self

    def define_metric(self, *_, **__):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_is_told_everything(wandb: FakeWandb, tmp_path: Path) -> None:
    train(a_job(wandb={"project": "search", "entity": "us"}), tmp_path)
    assert wandb.logged == [
        {"step": 0, "evaluation/map": 0.25},
        {
            "step": 1,
            "train/loss": 0.5,
            "train/epoch": 1,
            "train/rows": 64,
            "train/data_wait_s": 0.0,
        },
        {"step": 1, "train/learning_rate": 0.1},
    ]
    assert wandb.exit_code == 0
    begun = wandb.begun
    assert (begun["project"], begun["entity"], begun["name"]) == ("search", "us", "trec")
    assert (begun["id"], begun["resume"]) == ("1234", "allow")
    assert begun["config"]["model"]["backbone"] == "s3://bases/mini"


def test_a_run_on_this_machine_has_no_id_of_its_own(wandb: FakeWandb, tmp_path: Path) -> None:
    train(a_job("local", wandb={"project": "search"}), tmp_path)
    assert wandb.begun["id"] is None


def test_a_failed_run_is_told_so(wandb: FakeWandb, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        train(a_job(wandb={"project": "search"}), tmp_path, KeyError("x"))
    assert wandb.exit_code == 1


def test_a_refused_key_ends_the_run_at_once(wandb: FakeWandb, tmp_path: Path) -> None:
    wandb.error = wandb.errors.AuthenticationError("bad key")
    with pytest.raises(BadSpec, match=r"^spec\.loggers\.wandb: refused: bad key; check WANDB_API"):
        train(a_job(wandb={"project": "search"}), tmp_path)


def test_a_service_that_does_not_answer_is_left_out(
    wandb: FakeWandb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wandb.error = ConnectionError("no route")
    train(a_job(wandb={"project": "search"}), tmp_path)
    assert caplog.messages == ["spec.loggers.wandb: no route; the run goes on without it"]


@pytest.mark.parametrize(
    ("loggers", "words"),
    [
        ({"wandb": {"project": "p"}}, r"spec\.loggers\.wandb: .*pip install 'embedtune\[wandb\]'"),
        ({"mlflow": {"trackingUri": "http://m"}}, r"spec\.loggers\.mlflow: .*embedtune\[mlflow\]"),
    ],
)
def test_a_missing_package_is_named(
    loggers: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadSpec, match=words):
        train(a_job(**loggers), tmp_path)


class FakeClient:
    """mlflow's client over one server's memory."""

    status = 500
    error: Exception | None = None

    def __init__(self, tracking_uri):
        self.runs = FakeClient.runs
        FakeClient.uri = tracking_uri

    def get_experiment_by_name(self, name):
        if self.error is not None:
            raise self.error

    def create_experiment(self, name):
        return f"id of {name}"

    def search_runs(self, places, words, max_results):
        found = [r for r in self.runs.values() if f"'{r.tags['embedtune.uid']}'" in words]
        return [SimpleNamespace(info=SimpleNamespace(run_id=r.id)) for r in found]

    def create_run(self, place, tags, run_name):
        run = SimpleNamespace(id=f"run {len(self.runs)}", place=place, tags=tags, name=run_name)
        run.metrics, run.params, run.status = [], {}, "RUNNING"
        self.runs[run.id] = run
        return SimpleNamespace(info=SimpleNamespace(run_id=run.id))

    def get_run(self, run_id):
        return SimpleNamespace(data=SimpleNamespace(params=self.runs[run_id].params))

    def update_run(self, run_id, status):
        self.runs[run_id].status = status

    def log_batch(self, run_id, metrics=(), params=()):
        assert len(metrics) <= 1000
        assert len(params) <= 100
        self.runs[run_id].metrics += [(m[0], m[1], m[3]) for m in metrics]
        self.runs[run_id].params |= dict(params)

    def set_terminated(self, run_id, status):
        self.runs[run_id].status = status


class RefusedByServer(Exception):
    def get_http_status_code(self):
        return FakeClient.status


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    FakeClient.runs, FakeClient.error = {}, None
    entities = SimpleNamespace(Metric=lambda *a: a, Param=lambda *a: a)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=FakeClient))
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    errors = SimpleNamespace(MlflowException=RefusedByServer)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", errors)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    return FakeClient


MLFLOW = {"trackingUri": "http://mlflow:5000", "experiment": "search"}


def test_mlflow_is_told_everything(mlflow: Any, tmp_path: Path) -> None:
    train(a_job(mlflow=MLFLOW), tmp_path)
    (run,) = mlflow.runs.values()
    assert mlflow.uri == "http://mlflow:5000"
    assert (run.place, run.name, run.status) == ("id of search", "trec", "FINISHED")
    assert run.tags == {"embedtune.uid": "1234", "embedtune.namespace": "team-a"}
    assert ("evaluation/map", 0.25, 0) in run.metrics
    assert ("train/loss", 0.5, 1) in run.metrics
    assert ("train/learning_rate", 0.1, 1) in run.metrics
    assert run.params["model.backbone"] == "s3://bases/mini"
    assert len(run.params["data.train.uri"]) == LONGEST


def test_a_job_that_is_tried_again_goes_on_with_its_run(mlflow: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        train(a_job(mlflow=MLFLOW), tmp_path, KeyError("x"))
    assert [run.status for run in mlflow.runs.values()] == ["FAILED"]
    train(a_job(mlflow=MLFLOW), tmp_path)
    assert [run.status for run in mlflow.runs.values()] == ["FINISHED"]
    train(a_job("5678", mlflow=MLFLOW), tmp_path)
    assert len(mlflow.runs) == 2


@pytest.mark.parametrize("status", [401, 403, 503])
def test_only_a_refusal_ends_the_run(mlflow: Any, status: int, tmp_path: Path) -> None:
    mlflow.error, mlflow.status = RefusedByServer("no"), status
    if status == 503:
        train(a_job(mlflow=MLFLOW), tmp_path)
        assert not mlflow.runs
        return
    with pytest.raises(BadSpec, match=r"^spec\.loggers\.mlflow: http://mlflow:5000 refuses: no"):
        train(a_job(mlflow=MLFLOW), tmp_path)


class Stuck:
    """A tool that answers nothing until it is let go, and may fail then."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go, self.error = threading.Event(), error
        self.points: list[Point] = []
        self.closed: list[bool] = []

    def send(self, points):
        self.go.wait()
        if self.error is not None:
            raise self.error
        self.points += points

    def close(self, failed):
        self.closed.append(failed)


def test_a_slow_tool_holds_nothing_up_and_gets_everything() -> None:
    tool = Stuck()
    forwarder = Forwarder("spec.loggers.x", tool)
    for step in range(500):
        forwarder.step(step, 1, 0.5, 8, 0.0)
    assert tool.points == []
    tool.go.set()
    forwarder.close(failed=False)
    assert [point.step for point in tool.points] == list(range(500))
    assert tool.closed == [False]


def test_a_tool_that_fails_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    tool = Stuck(OSError("gone"))
    tool.go.set()
    forwarder = Forwarder("spec.loggers.x", tool)
    for step in range(20_000):
        forwarder.step(step, 1, 0.5, 8, 0.0)
    forwarder.close(failed=True)
    assert tool.points == []
    assert tool.closed == []
    assert caplog.messages[0] == "spec.loggers.x: gone; the run goes on without it"


def test_leaves_by_their_paths() -> None:
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": True}) == {
        "a.b": "1",
        "a.c.d": "[2]",
        "e": "True",
    }
