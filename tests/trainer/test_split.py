"""The hold-out: seeded, stratified, and no text on both sides."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from embedtune_trainer.batches.split import stratified_split
from embedtune_trainer.rows.table import LabelledRows, Texts

ROWS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6)), min_size=1, max_size=120)


@settings(deadline=None)
@given(ROWS, st.floats(0.05, 0.9), st.integers(0, 5))
def test_promises(pairs, fraction, seed):
    rows = LabelledRows(Texts([str(t) for t, _ in pairs]), [str(k) for _, k in pairs], "x.csv")
    split = stratified_split(rows, fraction, seed)
    train, held_out = (rows.take(side.tolist()) for side in (split.train, split.held_out))
    assert sorted([*split.train, *split.held_out]) == list(range(len(rows)))
    assert not set(train.items.values) & set(held_out.items.values)
    for label, size in rows.class_sizes.items():
        assert train.class_sizes[label] >= min(2, size)


def test_fraction_is_met_and_the_same_in_every_class():
    labels = ["a"] * 1000 + ["b"] * 100 + ["c"] * 30
    rows = LabelledRows(Texts([str(i) for i in range(len(labels))]), labels, "x.csv")
    split = stratified_split(rows, 0.1, 0)
    held_out = Counter(labels[i] for i in split.held_out)
    assert abs(held_out["a"] - 100) <= 1
    assert abs(held_out["b"] - 10) <= 1
    assert abs(held_out["c"] - 3) <= 1


def test_small_classes_take_turns_with_two_rows_each():
    labels = [str(i // 5) for i in range(500)]
    rows = LabelledRows(Texts([str(i) for i in range(500)]), labels, "x.csv")
    held_out = Counter(labels[i] for i in stratified_split(rows, 0.1, 0).held_out)
    assert set(held_out.values()) == {2}
    assert 46 <= sum(held_out.values()) <= 52


def test_seeded():
    rows = LabelledRows(Texts([str(i) for i in range(90)]), ["a", "b", "c"] * 30, "x.csv")
    one, same, other = (stratified_split(rows, 0.2, seed).held_out.tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_a_text_under_two_labels_stays_in_training():
    rows = LabelledRows(Texts(["t"] * 2 + [str(i) for i in range(98)]), ["a", "b"] * 50, "x.csv")
    split = stratified_split(rows, 0.5, 0)
    assert split.ambiguous_texts == 1
    assert {0, 1} <= set(split.train.tolist())
