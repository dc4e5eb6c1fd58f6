"""How sure metrics are: percentile intervals by bootstrap over the queries.

Queries are drawn with replacement, as many as there are, again and again; the middle share of the
metrics of the draws is the interval (Efron and Tibshirani 1993, chapter 13). Before and after are
measured on the same draws, so that the interval of their difference is that of a paired test.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.evaluation.outcome import Outcome
from embedtune_trainer.reporting.record import Bounds, Intervals

RESAMPLES: Final = 1000
CONFIDENCE: Final = 0.95
AT_A_TIME: Final = 2**21
"""Draws that are held at a time."""
Values = NDArray[np.float64]


def intervals(
    before: Outcome,
    after: Outcome,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> dict[str, Intervals]:
    """Of each metric that is taken over queries or pairs.

    Args:
        before: what the untouched model gave.
        after: what the tuned one gave on the same data.
        seed: of the draws.
        resamples: how many.
        confidence: share of the draws that lie within, from 0 to 1.
    """
    found = {}
    for number, (old, new) in enumerate(zip(before.drawn, after.drawn, strict=True)):
        parts: dict[str, list[tuple[Values, Values]]] = {}
        for times_SQ in _draws(len(old), resamples, (seed, number, 0xB007)):
            olds, news = old.metrics_of(times_SQ), new.metrics_of(times_SQ)
            for name, old_S in olds.items():
                parts.setdefault(name, []).append((old_S, news[name]))
        for name, pairs in parts.items():
            old_S, new_S = (np.concatenate(side) for side in zip(*pairs, strict=True))
            sides = (old_S, new_S, new_S - old_S)
            found[name] = Intervals(*(_bounds(side, confidence) for side in sides))
    return found


def _draws(queries: int, resamples: int, seed: tuple[int, ...]) -> Iterator[Values]:
    """(S, Q): how often each query is in each of S draws; nothing if there are no queries."""
    rng = np.random.default_rng(seed)
    rows = max(1, AT_A_TIME // max(1, queries))
    for begin in range(0, resamples if queries else 0, rows):
        count = min(rows, resamples - begin)
        drawn_SQ = rng.integers(0, queries, (count, queries))
        drawn_SQ += np.arange(count)[:, None] * queries
        times = np.bincount(drawn_SQ.ravel(), minlength=count * queries)
        yield times.reshape(count, queries).astype(np.float64)


def _bounds(value_S: Values, confidence: float) -> Bounds:
    low, high = np.quantile(value_S, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
