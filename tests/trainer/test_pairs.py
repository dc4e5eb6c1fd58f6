"""What pairs say of each other: known pairs, groups, splits, batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtune_trainer.batches.pairs import RandomSampler
from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.batches.split import split_rows
from embedtune_trainer.errors import BadData
from embedtune_trainer.evaluation.measures import spearman
from embedtune_trainer.rows.table import PairRows, Texts


def rows(*pairs, negatives=()):
    left, right = zip(*pairs, strict=True)
    columns = tuple(Texts(list(column)) for column in negatives)
    return PairRows(Texts(list(left)), Texts(list(right)), "p.csv", columns)


def known(relation, batch):
    """(B, C) bool, block by block of two rows."""
    found = relation.known(np.array(batch))
    width = len(batch) * (1 + len(relation.negatives))
    table = np.zeros((len(batch), width), bool)
    for begin in range(0, len(batch), 2):
        row, column = found.rows(begin, min(begin + 2, len(batch)))
        assert not table[begin + row, column].any()
        table[begin + row, column] = True
    return table


def test_what_the_data_says_elsewhere_is_no_negative():
    """parity D12: (A,B),(C,B) and (A,B),(C,D),(A,D)."""
    shared = Relation.of(rows(("A", "B"), ("C", "B")))
    assert known(shared, [0, 1]).all()
    chain = Relation.of(rows(("A", "B"), ("C", "D"), ("A", "D"), ("E", "F")))
    assert known(chain, [0, 1, 3]).tolist() == [
        [True, True, False],
        [False, True, False],
        [False, False, True],
    ]


def test_a_pair_is_known_in_either_order():
    """(A,B) stands in the data, so A is no negative of B where the batch holds (B,C) and (D,A)."""
    relation = Relation.of(rows(("A", "B"), ("B", "C"), ("D", "A")))
    # anchors B, D; candidates C, A
    assert known(relation, [1, 2]).tolist() == [[True, True], [False, True]]
    assert relation.duplicates == 0


def test_a_hard_negative_that_is_a_positive_elsewhere_is_left_out():
    relation = Relation.of(rows(("A", "B"), ("A", "D"), ("C", "E"), negatives=(["x", "y", "D"],)))
    # candidates B, E, x, D
    assert known(relation, [0, 2]).tolist() == [
        [True, False, False, True],
        [False, True, False, False],
    ]


def test_known_pairs_as_a_set():
    chance = np.random.default_rng(0)
    left, right = chance.integers(0, 12, (2, 60))
    data = rows(*((f"l{a}", f"r{b}") for a, b in zip(left, right, strict=True)))
    relation = Relation.of(data)
    table = known(relation, range(60))
    said = set(zip(data.left.values, data.right.values, strict=True))
    for i in range(60):
        for j in range(60):
            assert table[i, j] == ((data.left.values[i], data.right.values[j]) in said)
    assert relation.duplicates == 60 - len(said)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30),
    st.data(),
)
def test_known_pairs_of_a_batch_as_a_set(said, data):
    """Few items and small batches, so that anchors have more pairs than there are candidates."""
    relation = Relation.of(rows(*((f"i{a}", f"i{b}") for a, b in said)))
    batch = data.draw(st.lists(st.sampled_from(range(len(said))), min_size=1, max_size=5))
    together = {*said, *((b, a) for a, b in said)}
    expected = [
        [(said[i][0], said[j][1]) in together or said[i][0] == said[j][1] for j in batch]
        for i in batch
    ]
    assert known(relation, batch).tolist() == expected


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
