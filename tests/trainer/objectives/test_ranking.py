"""Rankings of pairs against naive loops in float64, whole and by blocks, and against the peers'."""

import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    MultipleNegativesRankingLoss as TheirRanking,
)
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from embedtune_trainer.objectives import log_sums
from embedtune_trainer.objectives.ranking import CLIPLoss, MultipleNegativesRankingLoss
from tests.trainer.objectives.naive import F64, assert_same, cos, dense, in_blocks, vectors

BLOCKS = [2**21, 1, 23]


def naive(left, candidates, known, scale, symmetric):
    """One softmax after the other, by the definition."""
    count = len(left)

    def term(own, others):
        return -own + torch.logsumexp(torch.stack(others), 0)

    total = back = 0
    for i in range(count):
        kept = [j for j in range(len(candidates)) if j == i or not known[i][j]]
        total += term(
            scale * cos(left[i], candidates[i]),
            [scale * cos(left[i], candidates[j]) for j in kept],
        )
    for j in range(count):
        kept = [i for i in range(count) if i == j or not known[i][j]]
        back += term(
            scale * cos(left[j], candidates[j]),
            [scale * cos(left[i], candidates[j]) for i in kept],
        )
    return (total + back) / (2 * count) if symmetric else total / count


@pytest.mark.parametrize("numbers", BLOCKS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("extra", [0, 5])
def test_ranking_as_the_loop(monkeypatch, symmetric, extra, numbers):
    in_blocks(monkeypatch, numbers)
    left, candidates = vectors(5, 4), vectors(5 + extra, 4, seed=1)
    known = torch.rand(5, 5 + extra, generator=torch.Generator().manual_seed(2)) < 0.3
    loss = MultipleNegativesRankingLoss(scale=7.0, symmetric=symmetric)
    ours = loss(left, candidates, dense(known))
    assert int(ours.terms) == 5
    assert_same(ours.loss, naive(left, candidates, known, 7.0, symmetric), left, candidates)


@pytest.mark.parametrize("numbers", BLOCKS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_ranking_as_sentence_transformers(monkeypatch, symmetric, numbers):
    in_blocks(monkeypatch, numbers)
    left, right, negative = vectors(6, 4), vectors(6, 4, seed=1), vectors(6, 4, seed=2)
    options = {}
    if symmetric:
        directions = ("query_to_doc", "doc_to_query")
        options = {"directions": directions, "partition_mode": "per_direction"}
    peer = TheirRanking(torch.nn.Identity(), **options)
    theirs = peer.compute_loss_from_embeddings([left, right, negative], None)
    candidates = torch.cat((right, negative))
    ours = MultipleNegativesRankingLoss(symmetric=symmetric)(left, candidates).loss
    assert_same(ours, theirs, left, right, negative)


@pytest.mark.parametrize("numbers", BLOCKS)
def test_clip_as_the_loop_with_the_scales_gradient(monkeypatch, numbers):
    in_blocks(monkeypatch, numbers)
    left, right = vectors(6, 4), vectors(6, 4, seed=1)
    log_scale = torch.tensor(1.5, dtype=F64, requires_grad=True)
    known = torch.rand(6, 6, generator=torch.Generator().manual_seed(3)) < 0.3
    ours = CLIPLoss()(left, right, log_scale, dense(known)).loss
    assert_same(ours, naive(left, right, known, log_scale.exp(), True), left, right, log_scale)


def test_clip_as_transformers_and_open_clip():
    from open_clip.loss import ClipLoss

    text, image = vectors(6, 4), vectors(6, 4, seed=1)
    scale = torch.tensor(math.log(1 / 0.07), dtype=F64, requires_grad=True)
    ours = CLIPLoss()(text, image, scale).loss
    unit = [x / x.norm(dim=-1, keepdim=True) for x in (text, image)]
    theirs = image_text_contrastive_loss(scale.exp() * unit[0] @ unit[1].T)
    assert_same(ours, theirs, text, image, scale)
    ours = CLIPLoss()(text, image, scale).loss
    unit = [x / x.norm(dim=-1, keepdim=True) for x in (text, image)]
    assert_same(ours, ClipLoss()(unit[1], unit[0], scale.exp()), text, image, scale)


def test_the_scale_counts_up_to_100():
    text, image = vectors(4, 3), vectors(4, 3, seed=1)
    one, two = (
        CLIPLoss()(text, image, torch.tensor(math.log(scale), dtype=F64)).loss
        for scale in (100.0, 300.0)
    )
    assert one.item() == pytest.approx(two.item(), abs=1e-10)


@pytest.mark.parametrize("numbers", BLOCKS)
def test_duplicates_that_nothing_tells_apart_share_the_softmax(monkeypatch, numbers):
    in_blocks(monkeypatch, numbers)
    left = vectors(1, 4).detach().repeat(4, 1).requires_grad_()
    found = MultipleNegativesRankingLoss(symmetric=True)(left, left).loss
    assert found.item() == pytest.approx(math.log(4), abs=1e-10)


@pytest.mark.parametrize(("numbers", "times"), [(36, 1), (35, 4)])
def test_logits_that_one_block_holds_are_calculated_once(monkeypatch, numbers, times):
    """Otherwise those of each of the two blocks again on the way back, and the same each time."""
    in_blocks(monkeypatch, numbers)
    begun = []
    monkeypatch.setattr(
        log_sums, "_logits", lambda *of, made=log_sums._logits: begun.append(of[-2]) or made(*of)
    )
    left, right = vectors(6, 4), vectors(6, 4, seed=1)
    found = MultipleNegativesRankingLoss(symmetric=True)(left, right).loss
    first = torch.autograd.grad(found, (left, right), retain_graph=True)
    assert len(begun) == times
    assert all(map(torch.equal, first, torch.autograd.grad(found, (left, right))))


def test_one_row_has_nothing_to_rank():
    left, right = vectors(1, 4), vectors(1, 4, seed=1)
    found = MultipleNegativesRankingLoss(symmetric=True)(left, right).loss
    gradients = torch.autograd.grad(found, (left, right))
    assert found.item() == 0
    assert not any(gradient.any() for gradient in gradients)


def test_a_zero_vector_has_the_cosine_0_and_no_gradient():
    left, right = torch.zeros(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    found = MultipleNegativesRankingLoss(symmetric=True)(left, right).loss
    found.backward()
    assert found.item() == pytest.approx(math.log(3), abs=1e-6)
    assert not left.grad.any()
    assert not right.grad.any()


def test_an_easy_batch_is_not_below_0_in_float32():
    """The own logit is taken off before rounding can make the sum smaller than it."""
    x = torch.nn.functional.normalize(torch.randn(64, 128), dim=-1)
    near = x + 1e-4 * torch.randn(64, 128)
    found = CLIPLoss()(x, near, torch.tensor(100.0).log())
    assert 0 <= found.loss.item() < 1e-6
