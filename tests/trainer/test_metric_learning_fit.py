"""Every loss of the library through the training: it learns, and so do the weights of its own."""

import re
from typing import get_args

import numpy as np
import pytest
import torch

from embedtune_api import objective_names
from embedtune_api.base import InvalidJob
from embedtune_api.spec import Encoder, Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.mixture import build_mixture
from embedtune_trainer.objectives.catalogue import LOSSES
from embedtune_trainer.objectives.choice import Entry, choose_losses
from embedtune_trainer.objectives.metric_learning import refused
from embedtune_trainer.objectives.metric_learning import table as metric_learning
from embedtune_trainer.objectives.metric_learning.class_losses import OF_CLASSES
from embedtune_trainer.rows.table import LabelledRows, PairRows, Texts
from embedtune_trainer.training.fit import Beside, fit
from embedtune_trainer.training.loss_optimizer import LEARNING_RATE, loss_optimizer_of
from embedtune_trainer.training.optimizers import NAMES
from tests.trainer import tiny
from tests.trainer.test_fit import Recorder

NAMED = get_args(objective_names.LibraryLoss)
MINERS = get_args(objective_names.LibraryMiner)
WITH_WEIGHTS = {declared.__name__ for declared in OF_CLASSES}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")


def rows_for(name, count=32):
    texts, labels = zip(*tiny.rows(count), strict=True)
    if "labelled" in LOSSES[name].layouts:
        return LabelledRows(Texts(list(texts)), list(labels), "t.csv")
    right = [text for text, _ in tiny.rows(count, seed=1)]
    return PairRows(Texts(list(texts)), Texts(right), "p.csv")


def train(plain, name, **objective):
    encoder = Encoder.parse({"backbone": "s3://bases/tiny"})
    encoders = Encoders.single(load_encoder(Fetched("s3://bases/tiny", plain), encoder, 0))
    training = Training.parse({"batchSize": 16, "epochs": 1, "learningRate": 1e-3})
    given = Objective.parse({"loss": name, **objective})
    mixture = build_mixture(encoders, (Entry(rows_for(name)),), given, training)
    (task,) = mixture.tasks
    begin = [p.detach().clone() for p in task.loss_module.parameters()] if task.loss_module else []
    of_losses = loss_optimizer_of(given, [task.loss_module])
    report = fit(encoders, mixture, training, Recorder(), beside=Beside(loss_optimizer=of_losses))
    return task, begin, report


@pytest.mark.parametrize("name", NAMED)
def test_every_loss_takes_steps_with_its_defaults(plain, name):
    task, begin, report = train(plain, name)
    assert task.name == name
    assert report.last_loss > 0
    assert torch.tensor(report.last_loss).isfinite()
    assert report.largest_change > 0
    assert bool(begin) == (name in WITH_WEIGHTS)
    for before, now in zip(begin, task.loss_module.parameters() if begin else (), strict=True):
        assert (now - before).abs().amax() > 1e-3


@pytest.mark.parametrize("miner", MINERS)
@pytest.mark.parametrize("name", ["TripletMarginLoss", "ContrastiveLoss", "NCALoss"])
def test_every_miner_takes_steps(plain, name, miner):
    _, _, report = train(plain, name, miner=miner)
    assert report.mean_terms > 0
    assert report.largest_change > 0


def test_betas_of_the_margin_loss_are_learnt_if_asked(plain):
    task, begin, _ = train(plain, "MarginLoss", lossOptions={"learnBeta": True})
    (beta,) = task.loss_module.parameters()
    assert begin == [torch.tensor([1.2])]
    assert beta.detach() != begin[0]


def test_the_names_of_the_api_are_those_of_the_table():
    assert set(NAMED) == set(metric_learning.LOSSES)
    assert set(MINERS) == set(metric_learning.MINERS)
    assert set(get_args(objective_names.OptimizerName)) == set(NAMES)


@pytest.mark.parametrize("field", ["loss", "miner"])
def test_names_that_cannot_train_are_refused_with_the_list(field):
    names = refused.LOSSES if field == "loss" else refused.MINERS
    offered = NAMED if field == "loss" else MINERS
    for name in names:
        with pytest.raises(InvalidJob) as refusal:
            Objective.parse({field: name})
        told = set(re.findall(r"'(\w+)'", str(refusal.value)))
        assert set(offered) < told
        assert str(refusal.value).endswith(f"(got '{name}')")


def choose(name, **objective):
    return choose_losses(Objective.parse({"loss": name, **objective}), [Entry(rows_for(name))])


def test_classification_draws_its_batches_at_random_and_the_others_by_class():
    assert {name for name, kind in metric_learning.LOSSES.items() if kind.sampler == "random"} == {
        *WITH_WEIGHTS,
        "VICRegLoss",
    }


def test_the_sampler_may_be_named(plain):
    by_class = train(plain, "ArcFaceLoss", sampler="class", itemsPerClass=8)[0].sampler.epoch(0)
    at_random = train(plain, "CircleLoss", sampler="random")[0].sampler.epoch(0)
    default = train(plain, "ArcFaceLoss")[0].sampler.epoch(0)
    labels_N = rows_for("ArcFaceLoss").labels.numbers_N()
    assert all(len(np.unique(labels_N[batch])) == 2 for batch in by_class)
    for mine, theirs in zip(at_random, default, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_pairs_have_no_classes_to_sample():
    with pytest.raises(BadSpec) as refusal:
        choose("VICRegLoss", sampler="class")
    assert str(refusal.value) == (
        "spec.objective.sampler: the rows of spec.data.train are pairs, which have no classes; set"
        " it to auto"
    )


def test_options_of_the_loss_and_of_the_miner_arrive():
    (chosen,) = choose(
        "ArcFaceLoss",
        lossOptions={"margin": 20, "scale": 30.5},
        miner="BatchEasyHardMiner",
        minerOptions={"posStrategy": "hard", "negStrategy": "easy"},
    )
    assert chosen.options.arguments() == {
        "margin": 20,
        "scale": 30.5,
        "distance": "bounded cosine",
    }
    assert chosen.miner.arguments() == {
        "pos_strategy": "hard",
        "neg_strategy": "easy",
        "distance": "euclidean",
    }


MINER_LIST = ", ".join(MINERS)


@pytest.mark.parametrize(
    ("name", "objective", "sentence"),
    [
        (
            "PNPLoss",
            {"miner": "HDCMiner"},
            "spec.objective.miner: PNPLoss takes no HDCMiner; remove it",
        ),
        (
            "ArcFaceLoss",
            {"miner": "TripletMarginMiner"},
            "spec.objective.miner: ArcFaceLoss takes no TripletMarginMiner; use one of"
            f" {MINER_LIST}",
        ),
        (
            "CircleLoss",
            {"minerOptions": {"epsilon": 1}},
            "spec.objective.minerOptions: CircleLoss has no miner; name one of"
            f" {MINER_LIST} in miner",
        ),
        (
            "CosFaceLoss",
            {"lossOptions": {"margins": 1}},
            "spec.objective.lossOptions.margins: unknown field\nspec.objective.lossOptions takes:"
            " margin: what is taken from the cosine (default 0.35); scale: what cosines are"
            " multiplied by, above 0 (default 64)",
        ),
        (
            "VICRegLoss",
            {"lossOptions": {"eps": "small"}},
            "spec.objective.lossOptions.eps: Input should be a valid number (got 'small')\n"
            "spec.objective.lossOptions takes: invarianceLambda: weight of the distance between a"
            " pair's items (default 25); varianceMu: weight of the dimensions' spread (default"
            " 25); covarianceV: weight of the correlations (default 1); eps: added to the"
            " variance, above 0 (default 0.0001)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(name, objective, sentence):
    with pytest.raises(BadSpec) as refusal:
        choose(name, **objective)
    assert str(refusal.value) == sentence


def test_the_loss_optimizer_is_the_specs():
    weights = torch.nn.Linear(2, 2)
    options = {"learningRate": 0.1, "momentum": 0.9}
    given = Objective.parse({"lossOptimizer": "SGD", "lossOptimizerOptions": options})
    found = loss_optimizer_of(given, [None, weights])
    assert (found.name, found.learning_rate, found.options) == ("SGD", 0.1, {"momentum": 0.9})
    default = loss_optimizer_of(Objective(), [weights])
    assert (default.name, default.learning_rate) == ("AdamW", LEARNING_RATE)
    assert loss_optimizer_of(Objective(), [None, torch.nn.ReLU()]) is None
    # a cluster hands on the spec with its defaults written out
    assert loss_optimizer_of(Objective.parse(Objective().to_dict()), [None]) is None


@pytest.mark.parametrize(
    ("objective", "weights", "sentence"),
    [
        (
            {"lossOptimizer": "SGD"},
            None,
            "spec.objective.lossOptimizer: the loss has no weights of its own; remove it",
        ),
        (
            {"lossOptimizerOptions": {"learningRate": 0}},
            torch.nn.Linear(2, 2),
            "spec.objective.lossOptimizerOptions.learningRate: must be a number above 0 (got 0)",
        ),
        (
            {"lossOptimizer": "Rprop", "lossOptimizerOptions": {"momentum": 0}},
            torch.nn.Linear(2, 2),
            "spec.objective.lossOptimizerOptions.momentum: unknown option; Rprop takes etaMinus"
            " (default 0.5), etaPlus (default 1.2), stepMin (default 1e-06), stepMax (default 50)",
        ),
    ],
)
def test_a_loss_optimizer_that_does_not_fit_is_refused(objective, weights, sentence):
    with pytest.raises(BadSpec) as refusal:
        loss_optimizer_of(Objective.parse(objective), [weights])
    assert str(refusal.value) == sentence
