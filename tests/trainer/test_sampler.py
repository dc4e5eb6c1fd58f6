"""Batches: every row is seen, groups stay together, epochs come back."""

import resource
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtune_trainer.batches.sampler import ClassSampler

LABELS = st.lists(st.integers(0, 12), min_size=1, max_size=200)


@settings(deadline=None)
@given(LABELS, st.integers(2, 6), st.integers(2, 5), st.integers(0, 3))
def test_every_row_is_seen_in_every_epoch(labels, k, p, epoch):
    array = np.asarray(labels)
    sampler = ClassSampler(array, batch_size=k * p, items_per_class=k, seed=7)
    batches = sampler.epoch(epoch)
    assert len(batches) == len(sampler)
    assert set(np.concatenate(batches).tolist()) == set(range(len(labels)))
    for batch in batches:
        assert 0 < len(batch) <= k * p
        assert len(set(batch.tolist())) == len(batch)


@settings(deadline=None)
@given(LABELS, st.integers(2, 6), st.integers(2, 5))
def test_no_row_of_a_class_of_two_is_ever_alone(labels, k, p):
    array = np.asarray(labels)
    sizes = np.bincount(array)
    for batch in ClassSampler(array, k * p, k, seed=0).epoch(0):
        found = np.bincount(array[batch], minlength=len(sizes))
        for label in np.flatnonzero(found):
            assert found[label] >= min(k, sizes[label])


def test_same_seed_and_epoch_same_batches():
    labels = np.repeat(np.arange(10), 7)
    one, other = (ClassSampler(labels, 16, 4, seed=3) for _ in range(2))
    other.epoch(0)
    for a, b in zip(one.epoch(5), other.epoch(5), strict=True):
        assert (a == b).all()
    assert any((a != b).any() for a, b in zip(one.epoch(5), one.epoch(6), strict=True))


def test_singletons_are_counted_and_seen():
    labels = np.asarray([0, 0, 0, 0, 1, 2])
    sampler = ClassSampler(labels, 8, 4, seed=0)
    assert sampler.singletons == 2
    assert len(np.concatenate(sampler.epoch(0))) == 6


def test_fewer_classes_than_groups():
    batches = ClassSampler(np.repeat([0, 1], 40), 32, 4, seed=0).epoch(0)
    assert all(len(batch) >= 20 for batch in batches)


@pytest.mark.parametrize("classes", [2, 1000, 400_000])
def test_a_million_rows(classes):
    labels = np.random.default_rng(0).integers(0, classes, 1_000_000)
    begun = time.perf_counter()
    ClassSampler(labels, 64, 4, seed=0).epoch(0)
    assert time.perf_counter() - begun < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3 * 2**20  # KiB, torch included
