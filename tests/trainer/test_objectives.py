"""The triplet loss against a naive loop, values and gradients, in float64."""

import math

import pytest
import torch

from embedtune_api.spec import Objective
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives import blocks
from embedtune_trainer.objectives.choice import Entry, choose_losses
from embedtune_trainer.objectives.distances import DISTANCES
from embedtune_trainer.objectives.triplet import TripletObjective
from embedtune_trainer.rows.table import LabelledRows, Texts
from tests.trainer.test_miners import KINDS, loop

ROWS = LabelledRows(Texts(["a", "b"]), ["x", "y"], "t.csv")


def objective(kind="semihard", **options):
    (chosen,) = choose(Objective(loss_options=options, miner_options={"typeOfTriplets": kind}))
    return TripletObjective(chosen.options, chosen.miner)


def choose(asked):
    return choose_losses(asked, [Entry(ROWS)])


def naive(x, labels, kind, distance, margin, soft):
    """One triplet after the other, each distance by itself."""

    def d(i, j):
        if distance == "euclidean":
            return (x[i] - x[j]).norm()
        return 1 - x[i] @ x[j] / (x[i].norm() * x[j].norm())

    with torch.no_grad():
        table = torch.tensor([[d(i, j) for j in range(len(x))] for i in range(len(x))])
    losses = []
    for a, p, n in sorted(loop(table, labels.tolist(), kind, margin)):
        violation = d(a, p) - d(a, n) + margin
        losses.append(torch.log1p(torch.exp(violation)) if soft else violation.clamp(min=0))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("soft", [False, True])
def test_value_and_gradient_as_the_loop(kind, distance, soft):
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        x = torch.randn(12, 5, requires_grad=True)
        labels = torch.randint(0, 3, (12,))
        ours = objective(kind, distance=distance, soft=soft, margin=0.7)(x, labels).loss
        expected = naive(x, labels, kind, distance, 0.7, soft)
        (gradient,) = torch.autograd.grad(ours, x)
        (expected_gradient,) = torch.autograd.grad(expected, x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert abs(float((ours - expected).detach())) < 1e-10
    assert (gradient - expected_gradient).abs().max() < 1e-10


def test_as_pytorch_metric_learning():
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    torch.manual_seed(3)
    x, labels = torch.randn(16, 4, dtype=torch.float64), torch.randint(0, 3, (16,))
    distance = LpDistance(normalize_embeddings=False)
    triplets = TripletMarginMiner(0.2, type_of_triplets="all", distance=distance)(x, labels)
    theirs = TripletMarginLoss(0.2, distance=distance)(x, labels, triplets)
    ours = objective("all", distance="euclidean")(x, labels)
    assert abs(float(ours.loss - theirs)) < 1e-10


def test_as_sentence_transformers():
    from sentence_transformers.losses import (
        BatchHardTripletLossDistanceFunction,
        BatchSemiHardTripletLoss,
    )

    torch.manual_seed(4)
    x, labels = torch.randn(16, 4, dtype=torch.float64), torch.randint(0, 3, (16,))
    distance = BatchHardTripletLossDistanceFunction.cosine_distance
    peer = BatchSemiHardTripletLoss(torch.nn.Identity(), distance_metric=distance, margin=0.2)
    theirs = peer.batch_semi_hard_triplet_loss(labels, x)
    assert abs(float(objective("semihard")(x, labels).loss - theirs)) < 1e-10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one class", "no positives"])
def test_no_triplet_is_a_zero_with_a_gradient(kind, labels):
    x = torch.randn(4, 3, requires_grad=True)
    found = objective(kind)(x, torch.tensor(labels))
    found.loss.backward()
    assert float(found.loss.detach()) == 0
    assert int(found.terms) == 0
    assert x.grad is not None
    assert not x.grad.any()


@pytest.mark.parametrize("name", ["cosine", "euclidean"])
def test_zero_vectors_and_duplicates_have_finite_gradients(name):
    x = torch.randn(6, 3, dtype=torch.float64)
    x[0], x[1], x[2] = 0.0, 0.0, x[3]
    x.requires_grad_()
    prepared = DISTANCES[name].prepare(x)
    distance = DISTANCES[name].between(prepared, prepared)
    distance.sum().backward()
    assert x.grad.isfinite().all()
    if name == "cosine":
        assert not x.grad[:2].any()
        assert float(distance.detach()[0, 4]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_cut_up_in_blocks_it_is_the_same(monkeypatch, kind):
    torch.manual_seed(0)
    x = torch.randn(24, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (24,))
    whole = objective(kind)(x, labels)
    (expected,) = torch.autograd.grad(whole.loss, x)
    monkeypatch.setitem(blocks.LARGEST, "cpu", 24 * 5)
    cut = objective(kind)(x, labels)
    (gradient,) = torch.autograd.grad(cut.loss, x)
    assert math.isclose(cut.loss.item(), whole.loss.item(), rel_tol=1e-12)
    assert int(cut.terms) == int(whole.terms)
    assert (gradient - expected).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"foo": 1}, "spec.objective.lossOptions.foo: unknown field"),
        ({"margin": "wide"}, "spec.objective.lossOptions.margin"),
        ({"margin": -1}, "spec.objective.lossOptions.margin"),
        ({"distance": "manhattan"}, "spec.objective.lossOptions.distance"),
        ({"soft": 1}, "spec.objective.lossOptions.soft"),
    ],
)
def test_wrong_options_are_named(options, said):
    with pytest.raises(BadSpec) as caught:
        choose(Objective(loss_options=options))
    assert said in str(caught.value)
    assert "takes: margin: how much" in str(caught.value)


def test_wrong_miner_option_is_named():
    with pytest.raises(BadSpec, match=r"minerOptions\.typeOfTriplets"):
        choose(Objective(miner_options={"typeOfTriplets": "easy"}))
