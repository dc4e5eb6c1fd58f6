"""Several losses of a batch and prefixes of embeddings, against sums by hand and the peer's."""

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import losses as theirs
from torch import nn

from embedtune_api.base import InvalidJob
from embedtune_api.spec import Objective
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives.build import build_loss
from embedtune_trainer.objectives.choice import Entry, choose_losses
from embedtune_trainer.objectives.kind import Known, layout_of
from embedtune_trainer.objectives.labelled import SupConLoss
from embedtune_trainer.objectives.ranking import MultipleNegativesRankingLoss
from embedtune_trainer.objectives.scores import CoSENTLoss, CosineSimilarityLoss
from embedtune_trainer.objectives.triplet import TripletMarginLoss, TripletObjective
from embedtune_trainer.rows.table import LabelledRows, PairRows, Texts
from tests.trainer.objectives.naive import assert_same, vectors

COUNT, DIM = 6, 8
NAMES = [f"text {i}" for i in range(COUNT)]
LABELLED = LabelledRows(Texts(NAMES), ["x", "y", "x", "y", "x", "y"], "l.csv")
PAIRS = PairRows(Texts(NAMES), Texts([n.upper() for n in NAMES]), "p.csv")
SCORES = np.array([0.1, 0.9, 0.5, 0.5, 0.0, 1.0], np.float32).astype(np.float64)
SCORED = PairRows(PAIRS.left, PAIRS.right, "s.csv", scores_N=SCORES)
NEGATIVE = (Texts([f"other {i}" for i in range(COUNT)]),)
MARGINS = PairRows(PAIRS.left, PAIRS.right, "m.csv", NEGATIVE, margins_N=8 * SCORES)
BATCH = np.arange(COUNT)


def built(rows, asked, dim=DIM):
    objective = Objective.parse(asked)
    (chosen,) = choose_losses(objective, [Entry(rows)])
    return build_loss(chosen, objective.matryoshka, Known(rows, dim))


def test_weighted_sum_of_several():
    x = vectors(COUNT, DIM)
    asked = {
        "loss": "TripletMarginLoss",
        "weight": 0.5,
        "also": [{"loss": "SupConLoss", "lossOptions": {"temperature": 0.3}, "weight": 2}],
    }
    found = built(LABELLED, asked)([x], BATCH)
    labels = torch.tensor([0, 1] * 3)
    (chosen,) = choose_losses(Objective(), [Entry(LABELLED)])
    triplets = TripletObjective(TripletMarginLoss(), chosen.miner)(x, labels)
    others = SupConLoss(temperature=0.3)(x, labels)
    assert int(found.terms) == max(int(triplets.terms), int(others.terms))
    assert_same(found.loss, 0.5 * triplets.loss + 2 * others.loss, x)


def test_distillation_by_two_losses_of_a_teachers_scores():
    x, y = vectors(COUNT, DIM), vectors(COUNT, DIM, seed=1)
    loss = built(SCORED, {"loss": "CoSENTLoss", "also": [{"loss": "CosineSimilarityLoss"}]})
    scores = torch.from_numpy(SCORES)
    expected = CoSENTLoss()(x, y, scores).loss + CosineSimilarityLoss()(x, y, scores).loss
    assert_same(loss([x, y], BATCH).loss, expected, x, y)


def test_margins_are_auto_and_each_loss_has_its_columns():
    assert layout_of(MARGINS) == "margins"
    assert layout_of(MARGINS.take([2, 0])) == "margins"
    columns = [vectors(COUNT, DIM, seed=seed) for seed in range(3)]
    also = {"loss": "MultipleNegativesRankingLoss", "lossOptions": {"scale": 5}, "weight": 3}
    x, y, n = columns
    expected = (((x * (y - n)).sum(1) - torch.from_numpy(MARGINS.margins_N)) ** 2).mean()
    assert_same(built(MARGINS, {})(columns, BATCH).loss, expected, *columns)
    ranking = MultipleNegativesRankingLoss(scale=5)(x, torch.cat((y, n))).loss
    expected = (((x * (y - n)).sum(1) - torch.from_numpy(MARGINS.margins_N)) ** 2).mean()
    found = built(MARGINS, {"also": [also]})(columns, BATCH).loss
    assert_same(found, expected + 3 * ranking, *columns)


def test_given_negatives_are_for_the_losses_that_take_them():
    rows = PairRows(PAIRS.left, PAIRS.right, "n.csv", NEGATIVE)
    columns = [vectors(COUNT, DIM, seed=seed) for seed in range(3)]
    also = [{"loss": "SigLIPLoss"}]
    found = built(rows, {"also": also})(columns, BATCH).loss
    alone = built(rows, {})(columns, BATCH).loss
    other = built(PAIRS, {"loss": "SigLIPLoss"})(columns[:2], BATCH).loss
    assert_same(found, alone + other, *columns[:2])
    with pytest.raises(BadSpec, match="SigLIPLoss takes no hard negatives"):
        built(rows, {"loss": "SigLIPLoss", "also": also})


def test_matryoshka_as_sentence_transformers():
    class Encoder(nn.Module):
        """Gives the embeddings that it is called with, as the peer's loss cuts them."""

        def forward(self, features):
            return {"sentence_embedding": features["x"]}

        def get_embedding_dimension(self):
            return DIM

    x, y = vectors(COUNT, DIM), vectors(COUNT, DIM, seed=1)
    model = Encoder()
    inner = theirs.MultipleNegativesRankingLoss(model)
    peer = theirs.MatryoshkaLoss(model, inner, [8, 4, 2], [1, 0.5, 3])
    expected = peer([{"x": x}, {"x": y}], None)
    asked = {"matryoshka": {"dims": [8, 4, 2], "weights": [1, 0.5, 3]}}
    assert_same(built(PAIRS, asked)([x, y], BATCH).loss, expected, x, y)


def test_matryoshka_around_several_with_weights_of_their_own():
    asked = {
        "loss": "ArcFaceLoss",
        "also": [{"loss": "NTXentLoss", "weight": 0.1}],
        "matryoshka": {"dims": [8, 3]},
    }
    loss = built(LABELLED, asked)
    assert isinstance(loss, nn.Module)
    assert sorted(tuple(p.shape) for p in loss.parameters()) == [(3, 2), (8, 2)]
    loss([vectors(COUNT, DIM).float()], BATCH).loss.backward()
    assert all(p.grad.any() for p in loss.parameters())


@pytest.mark.parametrize(
    ("rows", "asked", "said"),
    [
        (PAIRS, {"matryoshka": {"dims": [9]}}, "matryoshka.dims: 9 is more than the 8 dimensions"),
        (
            LABELLED,
            {"also": [{"loss": "NTXentLoss"}, {"loss": "CoSENTLoss"}]},
            r"spec.objective.also\[1\].loss: CoSENTLoss cannot be trained on labelled rows; use",
        ),
        (
            LABELLED,
            {"also": [{"loss": "SupConLoss", "lossOptions": {"margin": 1}}]},
            r"spec.objective.also\[0\].lossOptions.margin: unknown field",
        ),
        (
            LABELLED,
            {"also": [{"loss": "SupConLoss", "miner": "TripletMarginMiner"}]},
            r"spec.objective.also\[0\].miner: SupConLoss takes no TripletMarginMiner",
        ),
        (SCORED, {"loss": "MarginMSELoss"}, "MarginMSELoss cannot be trained on scored pairs"),
        (PAIRS, {"loss": "CLIPLoss"}, "CLIPLoss cannot be trained on pairs; use Multiple"),
    ],
)
def test_what_does_not_suit_is_named(rows, asked, said):
    with pytest.raises(BadSpec, match=said):
        built(rows, asked)


@pytest.mark.parametrize(
    ("dims", "said"),
    [({"dims": [4, 4]}, "given once"), ({"dims": [4, 2], "weights": [1]}, "one for each of dims")],
)
def test_wrong_dims_are_refused(dims, said):
    with pytest.raises(InvalidJob, match=said):
        Objective.parse({"matryoshka": dims})
