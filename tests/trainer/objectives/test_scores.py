"""Losses of scores against naive loops in float64, and against sentence-transformers'."""

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as theirs

from embedtune_trainer.objectives.scores import CoSENTLoss, CosineSimilarityLoss, MarginMSELoss
from tests.trainer.objectives.naive import F64, assert_same, awkward, cos, vectors

TIED = torch.tensor([0.2, 0.9, 0.5, 0.5, 0.1, 0.9, 0.5, 0.0], dtype=F64)


def sorted_by(left, right, scores, scale):
    rows = range(len(scores))
    terms = [
        scale * (cos(left[i], right[i]) - cos(left[j], right[j]))
        for i in rows
        for j in rows
        if scores[i] < scores[j]
    ]
    return torch.logsumexp(torch.stack([torch.zeros((), dtype=F64), *terms]), 0), len(terms)


@pytest.mark.parametrize("scale", [1.0, 20.0, 1000.0])
def test_cosent_as_the_loop(scale):
    left, right = awkward(8, 3), vectors(8, 3, seed=1)
    expected, terms = sorted_by(left, right, TIED, scale)
    ours = CoSENTLoss(scale=scale)(left, right, TIED)
    assert int(ours.terms) == terms
    assert_same(ours.loss, expected, left, right)


def test_cosent_as_sentence_transformers():
    left, right = vectors(8, 3), vectors(8, 3, seed=1)
    peer = theirs.CoSENTLoss(torch.nn.Identity())
    expected = peer.compute_loss_from_embeddings([left, right], TIED)
    assert_same(CoSENTLoss()(left, right, TIED).loss, expected, left, right)


@pytest.mark.parametrize("count", [1, 4])
def test_cosent_of_equal_scores_has_nothing_to_order(count):
    left, right = vectors(count, 3), vectors(count, 3, seed=1)
    found = CoSENTLoss()(left, right, torch.full((count,), 0.5, dtype=F64))
    gradients = torch.autograd.grad(found.loss, (left, right))
    assert found.loss.item() == 0
    assert int(found.terms) == 0
    assert not any(gradient.any() for gradient in gradients)


def test_cosines_as_the_mean_square():
    left, right = awkward(8, 3), vectors(8, 3, seed=1)
    expected = sum((cos(a, b) - s) ** 2 for a, b, s in zip(left, right, TIED, strict=True)) / 8
    assert_same(CosineSimilarityLoss()(left, right, TIED).loss, expected, left, right)


def test_cosines_as_sentence_transformers():
    left, right = vectors(8, 3), vectors(8, 3, seed=1)
    peer = theirs.CosineSimilarityLoss(torch.nn.Identity())
    rounded = TIED.float().double()  # as the peer does
    expected = peer.compute_loss_from_embeddings([left, right], rounded)
    assert_same(CosineSimilarityLoss()(left, right, rounded).loss, expected, left, right)


def test_margins_as_the_loop_and_as_sentence_transformers():
    left, right, negative = (vectors(8, 3, seed=seed) for seed in range(3))
    margins = 4 * TIED - 1
    ours = MarginMSELoss(scale=2.0)(left, right, negative, margins)
    pairs = zip(left, right, negative, margins, strict=True)
    expected = sum((2 * (a @ p) - 2 * (a @ n) - m) ** 2 for a, p, n, m in pairs) / 8
    assert int(ours.terms) == 8
    assert_same(ours.loss, expected, left, right, negative)
    peer = theirs.MarginMSELoss(torch.nn.Identity())
    expected = peer.compute_loss_from_embeddings([left, right, negative], margins)
    assert_same(MarginMSELoss()(left, right, negative, margins).loss, expected, left, right)
