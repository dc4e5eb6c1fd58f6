"""Losses of pairs against naive loops in float64, and against the peers'."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.util import cos_sim
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from embedtune_trainer.batches.pairs import RandomSampler
from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.batches.split import split_rows
from embedtune_trainer.errors import BadData
from embedtune_trainer.evaluation.measures import spearman
from embedtune_trainer.objectives.pairs import (
    CLIPLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
)
from embedtune_trainer.rows.table import PairRows, Texts


def rows(*pairs, negatives=()):
    left, right = zip(*pairs, strict=True)
    columns = tuple(Texts(list(column)) for column in negatives)
    return PairRows(Texts(list(left)), Texts(list(right)), "p.csv", columns)


def vectors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


def cos(a, b):
    return (a @ b) / (a.norm() * b.norm())


def naive(left, candidates, known, scale, symmetric):
    """One softmax after the other, by the definition."""
    count = len(left)

    def term(own, others):
        return -own + torch.logsumexp(torch.stack(others), 0)

    total = 0
    for i in range(count):
        kept = [j for j in range(len(candidates)) if j == i or not known[i][j]]
        total += term(
            scale * cos(left[i], candidates[i]),
            [scale * cos(left[i], candidates[j]) for j in kept],
        )
    back = 0
    for j in range(count):
        kept = [i for i in range(count) if i == j or not known[i][j]]
        back += term(
            scale * cos(left[j], candidates[j]),
            [scale * cos(left[i], candidates[j]) for i in kept],
        )
    return (total + back) / (2 * count) if symmetric else total / count


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("extra", [0, 5])
def test_ranking_as_the_loop(symmetric, extra):
    left, candidates = vectors(5, 4), vectors(5 + extra, 4, seed=1)
    known = torch.rand(5, 5 + extra, generator=torch.Generator().manual_seed(2)) < 0.3
    ours = MultipleNegativesRankingLoss(scale=7.0, symmetric=symmetric)(left, candidates, known)
    expected = naive(left, candidates, known, 7.0, symmetric)
    assert int(ours.terms) == 5
    assert float((ours.loss - expected).detach()) == pytest.approx(0, abs=1e-10)
    found = torch.autograd.grad(ours.loss, (left, candidates))
    wanted = torch.autograd.grad(expected, (left, candidates))
    assert all((f - w).abs().max() < 1e-10 for f, w in zip(found, wanted, strict=True))


def test_ranking_as_sentence_transformers_without_shared_items():
    left, right = vectors(6, 4), vectors(6, 4, seed=1)
    nothing = torch.zeros(6, 6, dtype=torch.bool)
    ours = MultipleNegativesRankingLoss()(left, right, nothing).loss
    theirs = torch.nn.functional.cross_entropy(20 * cos_sim(left, right), torch.arange(6))
    assert float(ours) == pytest.approx(float(theirs), abs=1e-10)


def test_clip_as_transformers():
    text, image = vectors(6, 4), vectors(6, 4, seed=1)
    scale = torch.tensor(math.log(1 / 0.07), dtype=torch.float64, requires_grad=True)
    nothing = torch.zeros(6, 6, dtype=torch.bool)
    ours = CLIPLoss()(text, image, nothing, scale).loss
    unit = [x / x.norm(dim=-1, keepdim=True) for x in (text, image)]
    theirs = image_text_contrastive_loss(scale.exp() * unit[0] @ unit[1].T)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-10)
    (found,), (wanted,) = (torch.autograd.grad(x, scale, retain_graph=True) for x in (ours, theirs))
    assert float(found) == pytest.approx(float(wanted), abs=1e-10)


def test_the_scale_counts_up_to_100():
    text, image = vectors(4, 3), vectors(4, 3, seed=1)
    nothing = torch.zeros(4, 4, dtype=torch.bool)
    one, two = (
        CLIPLoss()(text, image, nothing, torch.tensor(math.log(scale), dtype=torch.float64)).loss
        for scale in (100.0, 300.0)
    )
    assert float(one) == pytest.approx(float(two), abs=1e-10)


def test_scores_as_the_mean_square():
    left, right = vectors(4, 3), vectors(4, 3, seed=1)
    scores = torch.tensor([0.0, 0.5, 1.0, 0.2], dtype=torch.float64)
    expected = sum((cos(a, b) - s) ** 2 for a, b, s in zip(left, right, scores, strict=True)) / 4
    ours = CosineSimilarityLoss()(left, right, scores).loss
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), abs=1e-10)


def test_a_zero_vector_has_finite_gradients():
    left = torch.zeros(3, 4, requires_grad=True)
    right = torch.randn(3, 4, requires_grad=True)
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    MultipleNegativesRankingLoss()(left, right, nothing).loss.backward()
    CosineSimilarityLoss()(left, right, torch.ones(3)).loss.backward()
    assert left.grad.isfinite().all()
    assert right.grad.isfinite().all()


def test_what_the_data_says_elsewhere_is_no_negative():
    """parity D12: (A,B),(C,B) and (A,B),(C,D),(A,D)."""
    shared = Relation.of(rows(("A", "B"), ("C", "B")))
    assert shared.known_BC(np.array([0, 1])).all()
    chain = Relation.of(rows(("A", "B"), ("C", "D"), ("A", "D"), ("E", "F")))
    known = chain.known_BC(np.array([0, 1, 3]))
    assert known.tolist() == [[True, True, False], [False, True, False], [False, False, True]]


def test_a_pair_is_known_in_either_order():
    """(A,B) stands in the data, so A is no negative of B where the batch holds (B,C) and (D,A)."""
    relation = Relation.of(rows(("A", "B"), ("B", "C"), ("D", "A")))
    known = relation.known_BC(np.array([1, 2]))  # anchors B, D; candidates C, A
    assert known.tolist() == [[True, True], [False, True]]
    assert relation.duplicates == 0


def test_a_hard_negative_that_is_a_positive_elsewhere_is_left_out():
    relation = Relation.of(rows(("A", "B"), ("A", "D"), ("C", "E"), negatives=(["x", "y", "D"],)))
    known = relation.known_BC(np.array([0, 2]))  # candidates B, E, x, D
    assert known.tolist() == [[True, False, False, True], [False, True, False, False]]


def test_known_pairs_as_a_set():
    chance = np.random.default_rng(0)
    left, right = chance.integers(0, 12, (2, 60))
    data = rows(*((f"l{a}", f"r{b}") for a, b in zip(left, right, strict=True)))
    relation = Relation.of(data)
    known = relation.known_BC(np.arange(60))
    said = set(zip(data.left.values, data.right.values, strict=True))
    for i in range(60):
        for j in range(60):
            assert known[i, j] == ((data.left.values[i], data.right.values[j]) in said)
    assert relation.duplicates == 60 - len(said)


def test_a_split_shares_no_item():
    data = rows(*((f"q{i // 2}", f"a{i}") for i in range(200)))
    train, held_out = split_rows(data, 0.25, 0)
    assert len(held_out) == 50
    assert not {*train.left.values, *train.right.values} & {
        *held_out.left.values,
        *held_out.right.values,
    }
    with pytest.raises(BadData, match="share items with each other"):
        split_rows(rows(*(("q", f"a{i}") for i in range(9))), 0.2, 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), min_size=1, max_size=40))
def test_groups_as_walking_from_row_to_row(said):
    relation = Relation.of(rows(*((f"i{a}", f"i{b}") for a, b in said)))
    groups = relation.groups_N()
    items = [{a, b} for a, b in said]
    for start in range(len(said)):
        reached, more = {start}, [start]
        while more:
            row = more.pop()
            found = {i for i in range(len(said)) if items[i] & items[row]} - reached
            reached |= found
            more += found
        assert {i for i in range(len(said)) if groups[i] == groups[start]} == reached


def test_every_row_once_an_epoch_in_even_batches():
    sampler = RandomSampler(101, 16, seed=3)
    batches = sampler.epoch(0)
    assert len(batches) == len(sampler) == 7
    assert sorted(np.concatenate(batches).tolist()) == list(range(101))
    assert {len(batch) for batch in batches} == {14, 15}
    assert [b.tolist() for b in batches] == [b.tolist() for b in sampler.epoch(0)]
    assert [b.tolist() for b in batches] != [b.tolist() for b in sampler.epoch(1)]


def test_spearman_with_ties():
    from scipy.stats import spearmanr

    chance = np.random.default_rng(0)
    a, b = chance.integers(0, 5, 50).astype(float), chance.normal(size=50)
    assert spearman(a, b) == pytest.approx(float(spearmanr(a, b).statistic), abs=1e-12)
    assert spearman(np.ones(5), b[:5]) == 0
