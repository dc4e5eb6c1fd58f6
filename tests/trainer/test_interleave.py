"""Whose batch comes when: shares, passes, and no state."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtune_trainer.batches.interleave import Interleaving

BATCHES = st.lists(st.integers(1, 40), min_size=1, max_size=6)
WEIGHTS = st.floats(0.01, 100)


@settings(deadline=None)
@given(BATCHES, st.integers(0, 5), st.integers(0, 3))
def test_without_weights_an_epoch_is_one_pass_over_each(batches, epoch, seed):
    turns = Interleaving(batches, None, seed).epoch(epoch)
    assert len(turns) == sum(batches)
    for entry, count in enumerate(batches):
        own = [(t.done, t.batch) for t in turns if t.entry == entry]
        assert own == [(epoch, batch) for batch in range(count)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), WEIGHTS), min_size=1, max_size=6), st.integers(1, 9))
def test_with_weights_passes_follow_one_another_in_the_given_shares(entries, epochs):
    batches, weights = zip(*entries, strict=True)
    mixed = Interleaving(batches, weights, seed=1)
    had = {entry: [] for entry in range(len(entries))}
    for epoch in range(epochs):
        turns = mixed.epoch(epoch)
        assert len(turns) == len(mixed) == sum(batches)
        for turn in turns:
            had[turn.entry].append((turn.done, turn.batch))
    total = epochs * len(mixed)
    for entry, share in enumerate(mixed.shares):
        # One batch after the other, pass after pass, none left out and none twice.
        assert had[entry] == [divmod(i, batches[entry]) for i in range(len(had[entry]))]
        assert abs(len(had[entry]) - total * share) <= len(entries) / 2
        assert share == pytest.approx(weights[entry] / sum(weights))


def test_any_epoch_comes_without_those_before():
    walked = Interleaving([7, 5, 3], [1, 5, 0.3], seed=4)
    order = [walked.epoch(epoch) for epoch in range(8)]
    assert Interleaving([7, 5, 3], [1, 5, 0.3], seed=4).epoch(6) == order[6]
    assert order[5] != order[6]
    assert Interleaving([7, 5, 3], [1, 5, 0.3], seed=5).epoch(6) != order[6]


def test_an_epoch_holds_the_entries_evenly():
    turns = Interleaving([60, 30, 10], None, seed=0).epoch(0)
    for begin in range(0, 100, 20):
        found = Counter(turn.entry for turn in turns[begin : begin + 20])
        assert abs(found[0] - 12) <= 3
        assert abs(found[1] - 6) <= 3
        assert abs(found[2] - 2) <= 2


def test_a_tiny_weight_gets_its_turn_in_time():
    mixed = Interleaving([10, 10], [1, 0.01], seed=0)
    assert mixed.before(1) == (20, 0)
    assert mixed.before(100) == (1980, 20)
