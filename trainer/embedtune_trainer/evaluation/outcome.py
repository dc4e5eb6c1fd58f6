"""What one measurement gave: metrics, and what they were made of, a query or pair at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.evaluation.rank_correlation import spearman_of_draws

SPEARMAN = "spearman"
Values = NDArray[np.float64]


class Drawn(Protocol):
    """Queries or pairs that metrics were taken over, and that others might have been drawn of."""

    def __len__(self) -> int:
        """Q."""

    def metrics_of(self, times_SQ: Values) -> Mapping[str, Values]:
        """Each metric, (S,), as if each query had been there so many times."""


@dataclass(frozen=True)
class QueryValues:
    """Metrics that are means over queries.

    Attributes:
        values: of each metric, (Q,).
    """

    values: Mapping[str, Values]

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), ()))

    def metrics_of(self, times_SQ: Values) -> Mapping[str, Values]:
        """See Drawn."""
        value_QM = np.stack(list(self.values.values()), axis=1)
        mean_SM = times_SQ @ value_QM / times_SQ.sum(1, keepdims=True)
        return dict(zip(self.values, mean_SM.T, strict=True))


@dataclass(frozen=True)
class ScoredValues:
    """Similarities of pairs beside the scores that the data give."""

    similarity_Q: Values
    score_Q: Values

    def __len__(self) -> int:
        return len(self.score_Q)

    def metrics_of(self, times_SQ: Values) -> Mapping[str, Values]:
        """See Drawn."""
        return {SPEARMAN: spearman_of_draws(self.similarity_Q, self.score_Q, times_SQ)}


@dataclass(frozen=True)
class Nearest:
    """A query's neighbours.

    Attributes:
        query: its row.
        rows_K: of the index, nearest first.
        scores_K: their cosines with the query.
        relevant_K: whether each belongs to it.
    """

    query: int
    rows_K: tuple[int, ...]
    scores_K: tuple[float, ...]
    relevant_K: tuple[bool, ...]


class Outcome(dict[str, float]):
    """The metrics of one measurement by name.

    Attributes:
        drawn: what they were taken over; metrics that are in none of these have no interval.
        nearest: neighbours of some queries, a sequence for each way that was searched.
    """

    def __init__(
        self,
        metrics: Mapping[str, float],
        drawn: Sequence[Drawn] = (),
        nearest: Sequence[Sequence[Nearest]] = (),
    ) -> None:
        super().__init__(metrics)
        self.drawn = tuple(drawn)
        self.nearest = tuple(nearest)
