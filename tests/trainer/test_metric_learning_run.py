"""A job's lossOptions, minerOptions and lossOptimizer, from the file to the model."""

from threading import Event

import pytest
import torch

from embedtune_api.contract import TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Storage
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives.metric_learning.adapter import LabelledObjective
from embedtune_trainer.progress import FanOut
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from tests.trainer import tiny


def run_with(base, folder, **objective) -> TrainResult:
    train = tiny.write_csv(folder / "train.csv", tiny.rows(96))
    job = tiny.job(
        f"file://{base}",
        f"file://{train}",
        f"file://{folder}/out",
        objective=objective,
        training={"epochs": 10, "batchSize": 32, "learningRate": 2e-3},
    )
    store = open_storage(Storage(), Event(), RetryPolicy())
    return run(FineTuneJob.parse(job), store, folder / "work", FanOut(()), lambda: False)


def test_options_reach_the_loss_its_miner_and_its_optimizer(tiny_backbone, tmp_path, monkeypatch):
    seen, rates = [], []
    forward = LabelledObjective.forward
    step = torch.optim.SGD.step

    def recorded(self, embedded, batch):
        seen.append(self)
        return forward(self, embedded, batch)

    def stepped(self, *given, **named):
        rates.append((self.param_groups[0]["lr"], self.param_groups[0]["momentum"]))
        return step(self, *given, **named)

    monkeypatch.setattr(LabelledObjective, "forward", recorded)
    monkeypatch.setattr(torch.optim.SGD, "step", stepped)
    result = run_with(
        tiny_backbone,
        tmp_path,
        loss="CosFaceLoss",
        lossOptions={"margin": 0.1, "scale": 16},
        miner="BatchHardMiner",
        minerOptions={"distance": "cosine"},
        lossOptimizer="SGD",
        lossOptimizerOptions={"learningRate": 0.5, "momentum": 0.25},
    )
    before, after = (result.metrics.headline.before, result.metrics.headline.after)
    assert float(after) > float(before) + 0.05
    assert (seen[0].loss.margin, seen[0].loss.scale) == (0.1, 16)
    assert seen[0].loss.W.shape == (32, 4)
    assert seen[0].miner.distance.is_inverted
    assert max(rates) == (0.5, 0.25)
    assert len(rates) == len(seen)


def test_a_wrong_option_ends_the_job_before_the_backbone_is_fetched(tmp_path):
    with pytest.raises(BadSpec) as refusal:
        run_with(tmp_path / "nowhere", tmp_path, loss="MarginLoss", lossOptions={"nu": True})
    assert str(refusal.value).splitlines()[0] == (
        "spec.objective.lossOptions.nu: Input should be a valid number (got True)"
    )
