"""Intervals by bootstrap, rank correlation and clusters, against scipy, scikit-learn and loops."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from embedtune_trainer.evaluation import bootstrap, clusters
from embedtune_trainer.evaluation.bootstrap import intervals
from embedtune_trainer.evaluation.clusters import (
    k_means,
    k_means_start,
    nmi,
    normalised_information,
)
from embedtune_trainer.evaluation.outcome import Outcome, QueryValues, ScoredValues
from embedtune_trainer.evaluation.rank_correlation import spearman, spearman_of_draws


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("tied", [False, True])
def test_rank_correlation_as_scipy(tied):
    a, b = random(40), random(40, seed=1)
    if tied:
        a, b = a.round(0), b.round(0)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    drawn = np.random.default_rng(2).integers(0, 40, (6, 40))
    times = np.stack([np.bincount(row, minlength=40) for row in drawn]).astype(float)
    expected = [spearmanr(a[row], b[row]).statistic for row in drawn]
    assert spearman_of_draws(a, b, times) == pytest.approx(expected, abs=1e-12)


def test_a_flat_side_correlates_with_nothing():
    assert spearman(np.ones(5), np.arange(5.0)) == 0


def outcomes(queries=60):
    before = random(queries, seed=3)
    after = before + 0.1 + 0.05 * random(queries, seed=4)
    return tuple(
        Outcome({"map": x.mean()}, [QueryValues({"map": x, "half": x / 2})])
        for x in (before, after)
    )


@pytest.mark.parametrize("at_a_time", [1, 2**21])
def test_intervals_are_the_percentiles_of_the_draws(monkeypatch, at_a_time):
    monkeypatch.setattr(bootstrap, "AT_A_TIME", at_a_time)
    before, after = outcomes()
    found = intervals(before, after, seed=5, resamples=200, confidence=0.9)
    assert found.keys() == {"map", "half"}
    draws = [
        np.repeat(np.arange(60), times.astype(int))
        for block in bootstrap._draws(60, 200, (5, 0, 0xB007))
        for times in block
    ]
    assert len(draws) == 200
    old, new = (outcome.drawn[0].values["map"] for outcome in (before, after))
    for bounds, values in (
        (found["map"].before, [old[rows].mean() for rows in draws]),
        (found["map"].after, [new[rows].mean() for rows in draws]),
        (found["map"].change, [(new - old)[rows].mean() for rows in draws]),
    ):
        assert bounds == pytest.approx(np.quantile(values, [0.05, 0.95]), abs=1e-12)
    assert found["half"].before == pytest.approx(np.array(found["map"].before) / 2)


def test_a_difference_is_paired():
    """Before and after vary much from query to query, their difference little."""
    before, after = outcomes()
    found = intervals(before, after, seed=0)["map"]
    widths = [high - low for low, high in (found.before, found.after, found.change)]
    assert widths[2] < widths[0] / 5
    assert found.change[0] > 0
    assert found.before[0] < before["map"] < found.before[1]


def test_intervals_cover_as_often_as_they_say():
    """Of 200 samples of a known mean about 95 % have it within."""
    rng = np.random.default_rng(0)
    within = 0
    for seed in range(200):
        values = rng.exponential(size=80)
        one = Outcome({}, [QueryValues({"map": values})])
        low, high = intervals(one, one, seed, resamples=200)["map"].before
        within += low < 1.0 < high
    assert 178 <= within <= 199


def test_the_same_seed_gives_the_same_intervals():
    before, after = outcomes()
    one, same, other = (intervals(before, after, seed, resamples=50) for seed in (1, 1, 2))
    assert one == same != other


def test_scored_pairs_have_an_interval():
    scores = random(200)
    before, after = (
        Outcome({}, [ScoredValues(scores + noise * random(200, seed=1), scores)])
        for noise in (1.0, 0.1)
    )
    found = intervals(before, after, seed=0)["spearman"]
    assert found.before[0] < spearman(scores + random(200, seed=1), scores) < found.before[1]
    assert found.change[0] > 0


def test_nothing_measured_has_no_interval():
    assert intervals(Outcome({}), Outcome({}), seed=0) == {}
    empty = Outcome({}, [QueryValues({"map": np.zeros(0)})])
    assert intervals(empty, empty, seed=0) == {}


def blobs(classes=5, rows=40, apart=8.0, seed=0):
    centres = apart * random(classes, 6, seed=seed)
    labels = np.arange(classes * rows) % classes
    return torch.from_numpy(centres[labels] + random(len(labels), 6, seed=seed + 1)).float(), labels


@pytest.mark.parametrize("apart", [0.3, 8.0])
def test_k_means_as_scikit_learn_from_the_same_start(apart):
    x, _ = blobs(apart=apart)
    start = k_means_start(x, 5, np.random.default_rng(0))
    theirs = KMeans(5, init=start.numpy(), n_init=1, max_iter=100, tol=0).fit(x.numpy())
    assert k_means(x, start).tolist() == theirs.labels_.tolist()


def test_a_start_is_of_rows_apart():
    x = torch.eye(4).repeat(50, 1)
    for seed in range(20):
        start = k_means_start(x, 4, np.random.default_rng(seed))
        assert len(start.unique(dim=0)) == 4
    same = k_means_start(torch.ones(9, 2), 3, np.random.default_rng(0))
    assert same.shape == (3, 2)


@pytest.mark.parametrize("seed", range(5))
def test_information_as_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, 60), rng.integers(0, 6, 60)
    expected = normalized_mutual_info_score(a, b)
    assert normalised_information(a, b) == pytest.approx(expected, abs=1e-12)
    assert normalised_information(a, 3 - a) == pytest.approx(1, abs=1e-12)
    one = np.zeros(60, int)
    assert normalised_information(a, one) == 0
    assert normalised_information(one, one) == normalized_mutual_info_score(one, one) == 1


def test_classes_that_are_clusters_have_all_the_information(monkeypatch):
    x, labels = blobs()
    clear = nmi(x, labels, seed=0)
    assert clear > 0.95
    assert nmi(torch.randn_like(x), labels, seed=0) < 0.3
    assert nmi(x * torch.rand(len(x), 1).add(0.5), labels, seed=0) == pytest.approx(clear, abs=1e-6)
    monkeypatch.setattr(clusters, "ROWS", 50)
    assert nmi(x, labels, seed=0) > 0.9
