"""When a comparison of seeds says that one system is below another."""

import pytest
from quality_sets.verdict import (
    ABOVE,
    ALIKE,
    BELOW,
    UNDECIDED,
    Found,
    table,
    verdict,
    verdicts,
)


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([0.80, 0.81, 0.79], [0.90, 0.91, 0.89], BELOW),
        ([0.90, 0.91, 0.89], [0.80, 0.81, 0.79], ABOVE),
        ([0.80, 0.90, 0.70], [0.82, 0.91, 0.73], ALIKE),
        ([0.50, 0.50, 0.50], [0.51, 0.51, 0.51], BELOW),
        ([0.51, 0.51, 0.51], [0.50, 0.50, 0.50], ABOVE),
        ([0.50, 0.50, 0.50], [0.50, 0.50, 0.50], ALIKE),
        ([0.50, 0.50, 0.50], [0.49, 0.60, 0.51], ALIKE),
        ([0.80], [0.90], UNDECIDED),
    ],
)
def test_means_are_apart_by_more_than_the_seeds_are(ours, theirs, said):
    assert verdict(ours, theirs) == said


def test_each_metric_has_its_own_verdict_and_its_own_line():
    ours = [Found({"a": 0.5, "b": 0.5}, 3, 1.0), Found({"a": 0.6, "b": 0.5}, 3, 2.0)]
    theirs = [Found({"a": 0.5, "b": 0.7}, 4, 1.0), Found({"a": 0.6, "b": 0.7}, 4, 1.0)]
    assert verdicts(ours, theirs) == {"a": ALIKE, "b": BELOW}
    assert table({"a": 0.1, "b": 0.2}, ours, theirs, "peer").splitlines() == [
        "| metric | before | embedtune | peer | embedtune is |",
        "|---|---|---|---|---|",
        "| a | 0.1000 | 0.5500 (0.5000 to 0.6000) | 0.5500 (0.5000 to 0.6000) | not below |",
        "| b | 0.2000 | 0.5000 | 0.7000 | below |",
        "| steps | | 3 | 4 | |",
        "| seconds | | 2 (1 to 2) | 1 | |",
    ]
