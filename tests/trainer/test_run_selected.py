"""Runs that are judged on their way: the best weights, an early end, the gate, mixed weights."""

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from embedtune_api.contract import TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.artifact import verify
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.progress import FanOut
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from tests.trainer import tiny


class Course:
    """A reporter that remembers what was measured, and how many steps were taken."""

    def __init__(self) -> None:
        self.measured_at: dict[int, dict[str, float]] = {}
        self.rates: list[float] = []
        self.steps = 0

    def phase(self, name: str) -> None:
        pass

    def start(self, steps: int, epochs: int) -> None:
        pass

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        self.steps = step

    def measured(self, step: int, epoch: int, metrics: dict[str, float]) -> None:
        if "learning_rate" in metrics:
            self.rates.append(metrics["learning_rate"])
        else:
            self.measured_at[step] = dict(metrics)

    def note(self, message: str, **facts: object) -> None:
        pass


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny.write_csv(tmp_path / "rows.csv", [("text", "label"), *tiny.rows(160)])


def trained(
    base: Path, data: Path, folder: Path, evaluation: dict[str, Any], **training: Any
) -> tuple[TrainResult, Course]:
    whole = {"epochs": 4, "batchSize": 32, "learningRate": 1e-3, **training}
    entries = {"train": {"uri": f"file://{data}"}, "evaluation": {"split": 0.25, **evaluation}}
    job = FineTuneJob.parse(
        tiny.job(f"file://{base}", "", f"file://{folder}/out", data=entries, training=whole)
    )
    course = Course()
    store = open_storage(StorageSpec(), Event(), RetryPolicy())
    result = run(job, store, folder / "work", FanOut((course,)), lambda: False)
    verify(folder / "out/default/tiny/local")
    return result, course


def shown(metrics: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.4f}" for name, value in metrics.items()}


def test_the_best_epoch_is_the_model(tiny_backbone, data, tmp_path):
    result, course = trained(
        tiny_backbone, data, tmp_path, {}, keepBest={"monitor": "map"}, learningRate=3e-2
    )
    assert sorted(course.measured_at) == [5, 10, 15, 20]
    assert len(course.rates) == 20
    assert max(course.rates) == pytest.approx(3e-2)
    best = max(course.measured_at.values(), key=lambda metrics: metrics["map"])
    assert result.metrics is not None
    assert result.metrics.after == shown(best)


def test_it_ends_early_and_measures_every_few_steps(tiny_backbone, data, tmp_path):
    stop = {"patience": 1, "minDelta": 1.0}
    result, course = trained(tiny_backbone, data, tmp_path, {"every": {"steps": 3}}, stopEarly=stop)
    assert sorted(course.measured_at) == [3, 6]
    assert course.steps == 6
    assert result.metrics is not None
    assert result.metrics.after == shown(course.measured_at[6])


def test_a_model_that_is_not_better_enough_is_kept_and_said(tiny_backbone, data, tmp_path):
    strict, _ = trained(tiny_backbone, data, tmp_path / "a", {"gate": {"minImprovement": 1.0}})
    assert strict.model is not None
    assert not strict.gated
    assert strict.failure is not None
    assert strict.failure.reason == "NotImproved"
    assert "gate asks for a rise of at least 1" in strict.failure.message
    easy, _ = trained(tiny_backbone, data, tmp_path / "b", {"gate": {}})
    assert easy.gated
    assert easy.failure is None


def test_mixed_with_nothing_of_the_tuned_weights_it_is_the_backbone(tiny_backbone, data, tmp_path):
    result, course = trained(tiny_backbone, data, tmp_path, {}, wiseFT={"alpha": 0.0})
    assert result.metrics is not None
    assert result.metrics.after == result.metrics.before != shown(course.measured_at[20])


def test_what_is_not_measured_is_refused_before_a_model_is_loaded(data, tmp_path):
    with pytest.raises(BadSpec, match=r"spec\.training\.keepBest\.monitor: spearman is not"):
        trained(tmp_path / "none", data, tmp_path, {}, keepBest={"monitor": "spearman"})
