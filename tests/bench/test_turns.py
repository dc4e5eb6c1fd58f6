"""The trainings of a comparison: in turns, the same steps, and none twice after a cut."""

import pytest
import torch
from quality_sets.comparison import Comparison, greatest_difference
from quality_sets.journal import Journal
from quality_sets.turns import all_trained


class Fake:
    """A Side whose embedding is its number."""

    def __init__(self, number, steps):
        self.number, self.steps = number, steps

    def train(self):
        return self.steps

    def embed(self):
        return torch.full((1, 1), float(self.number)), None


class Made:
    """A comparison of two systems that remembers which were made."""

    def __init__(self, steps=(3, 3), broken=None):
        self.order = []
        self.broken = broken
        self.comparison = Comparison(
            title="fake",
            peer="peer",
            sides=tuple(
                self.side(name, n) for name, n in zip(("ours", "peer"), steps, strict=True)
            ),
            judge=lambda x_ND, _: {"metric": float(x_ND)},
            tolerance=0.0,
            apart=greatest_difference,
        )

    def side(self, name, steps):
        def make(seed):
            if (name, seed) == self.broken:
                raise RuntimeError("cut off")
            self.order.append((name, seed))
            return Fake(seed, steps)

        return make


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def test_systems_take_turns_and_are_judged_by_seed(path):
    made = Made()
    ours, theirs = all_trained("set", made.comparison, [5, 7], Journal(path))
    assert made.order == [("ours", 5), ("peer", 5), ("peer", 7), ("ours", 7)]
    assert [one.metrics for one in ours] == [{"metric": 5.0}, {"metric": 7.0}]
    assert [one.metrics for one in theirs] == [{"metric": 5.0}, {"metric": 7.0}]


def test_a_run_that_was_cut_off_goes_on_behind_what_is_finished(path):
    cut = Made(broken=("peer", 7))
    with pytest.raises(RuntimeError, match="cut off"):
        all_trained("set", cut.comparison, [5, 7], Journal(path))
    again = Made()
    ours, _ = all_trained("set", again.comparison, [5, 7], Journal(path))
    assert again.order == [("peer", 7), ("ours", 7)]
    assert [one.metrics for one in ours] == [{"metric": 5.0}, {"metric": 7.0}]


def test_trainings_of_other_steps_are_no_comparison(path):
    with pytest.raises(AssertionError, match=r"set: the trainings took \[3, 4\] steps"):
        all_trained("set", Made(steps=(3, 4)).comparison, [0], Journal(path))


def test_a_journal_finds_what_was_trained_by_the_same_facts_alone(path):
    all_trained("set", Made().comparison, [0], Journal(path, threads=1))
    assert Journal(path, threads=1).get("set", "peer", 0) is not None
    assert Journal(path, threads=2).get("set", "peer", 0) is None
    assert Journal(path, threads=1).get("set", "peer", 1) is None
    assert Journal(path, threads=1).get("other", "peer", 0) is None


def test_a_journal_forgets_one_data_set(path):
    journal = Journal(path)
    for name in ("set", "other"):
        all_trained(name, Made().comparison, [0], journal)
    journal.forget("set")
    assert journal.get("set", "peer", 0) is None
    assert journal.get("other", "peer", 0) is not None


def test_a_side_that_begins_elsewhere_is_found():
    assert Made().comparison.before(0) == {"metric": 0.0}
    other = Comparison(
        **vars(Made().comparison) | {"sides": (lambda _: Fake(1, 3), lambda _: Fake(-1, 3))}
    )
    with pytest.raises(AssertionError, match="embeddings of peer are 2 from embedtune's"):
        other.before(0)
