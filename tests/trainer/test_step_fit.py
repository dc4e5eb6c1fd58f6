"""The step's options through a whole training, as a spec gives them."""

import pytest

from embedtune_api.spec import Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.mixture import build_mixture
from embedtune_trainer.objectives.choice import Entry
from embedtune_trainer.rows.table import LabelledRows, Texts
from embedtune_trainer.training import memory
from embedtune_trainer.training.fit import fit
from tests.trainer import stepping, tiny
from tests.trainer.test_fit import Recorder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def rows():
    texts, labels = zip(*tiny.rows(96), strict=True)
    return LabelledRows(Texts(list(texts)), list(labels), "t.csv")


def trained(plain, rows, **training):
    encoders = Encoders.single(stepping.load(plain))
    options = Training.parse({"batchSize": 32, "epochs": 4, "learningRate": 1e-3, **training})
    options = memory.find_batch_size(encoders, (Entry(rows),), Objective(), options)
    mixture = build_mixture(encoders, (Entry(rows),), Objective(), options)
    report = fit(encoders, mixture, options, Recorder())
    return encoders.module.state_dict(), report


@pytest.mark.parametrize(
    "training",
    [
        {"microBatch": 4},
        {"microBatch": "auto", "accumulate": 2},
        {"ema": {"decay": 0.5}, "scheduler": "cosine_with_restarts"},
        {"optimizer": "RMSprop", "optimizerOptions": {"momentum": 0.5}, "layerDecay": 0.9},
        {"rates": [{"modules": ["encoder.layer.1"], "factor": 2}], "precision": "bfloat16"},
    ],
    ids="-".join,
)
def test_it_learns(plain, rows, training):
    _, report = trained(plain, rows, **training)
    assert report.last_loss < report.first_loss
    assert report.steps == 12
    assert report.learning_rate == 1e-3
    assert report.batch_size == 32
    assert report.micro_batch == (4 if training.get("microBatch") == 4 else None)


def test_what_is_found_is_reported(plain, rows, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 0)
    _, report = trained(plain, rows, batchSize="auto", microBatch="auto", learningRate=2e-4)
    assert (report.batch_size, report.micro_batch) == (8, 1)


def test_a_training_in_parts_is_that_in_one(plain, rows):
    """Dropout apart, of which each part has its own."""
    found = []
    for training in ({}, {"microBatch": 3}):
        encoders = Encoders.single(stepping.load(plain, dropout=False))
        options = Training.parse(
            {"batchSize": 32, "epochs": 1, "optimizer": "SGD", "learningRate": 0.01, **training}
        )
        mixture = build_mixture(encoders, (Entry(rows),), Objective(), options)
        fit(encoders, mixture, options, Recorder())
        found.append(encoders.module.state_dict())
    apart = max(float((found[0][name] - found[1][name]).abs().max()) for name in found[0])
    assert apart < 1e-6
