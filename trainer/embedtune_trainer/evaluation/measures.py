"""What a model is measured on: a search with labels or pairs, or a rank correlation of scores."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.evaluation.retrieval import Relevance, paired, same_label, search_metrics
from embedtune_trainer.rows.table import LabelledRows, PairRows

log = logging.getLogger("embedtune")

Stop = Callable[[], bool]
BACKWARDS = "image_to_text_"
"""Stands before metrics of the search for texts with images."""
SPEARMAN = "spearman"


class Measure(Protocol):
    """Data to measure on, and how."""

    def __len__(self) -> int:
        """Queries, or scored pairs."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what `run` gives, the default headline first."""

    def run(self, encoders: Encoders, stop: Stop) -> dict[str, float]:
        """Measure; by name, from 0 to 1 (a correlation from -1).

        Raises:
            Interrupted: stop() was true.
        """


@dataclass(frozen=True)
class LabelSearch:
    """Every query in the index, or in the other queries when there is none."""

    queries: LabelledRows
    index: LabelledRows | None
    cutoffs: Sequence[int]
    batch_size: int

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def metrics(self) -> tuple[str, ...]:
        """See Measure."""
        return search_names(self.cutoffs)

    def run(self, encoders: Encoders, stop: Stop) -> dict[str, float]:
        """See Measure."""
        index = self.index or self.queries
        known = sorted({*self.queries.labels, *index.labels})
        number = {label: i for i, label in enumerate(known)}
        queries_QD = encoders.left.encode(self.queries.items, self.batch_size, stop)
        index_ND = (
            None
            if self.index is None
            else encoders.left.encode(self.index.items, self.batch_size, stop)
        )
        relevance = same_label(_labels(self.queries, number), _labels(index, number))
        return _searched(queries_QD, index_ND, relevance, self.cutoffs)


class PairSearch:
    """Every different left item searched in the different right ones; images also backwards."""

    def __init__(self, rows: PairRows, cutoffs: Sequence[int], batch_size: int) -> None:
        self.rows = rows
        relation = Relation.of(rows)
        _, first_L, left_N = np.unique(relation.left_N, return_index=True, return_inverse=True)
        _, first_R, right_N = np.unique(relation.right_N, return_index=True, return_inverse=True)
        self.left = rows.left.take(first_L.tolist())
        self.right = rows.right.take(first_R.tolist())
        self._left_N, self._right_N = torch.from_numpy(left_N), torch.from_numpy(right_N)
        self._cutoffs = cutoffs
        self._batch_size = batch_size
        self._both_ways = rows.left.modality != rows.right.modality

    def __len__(self) -> int:
        return len(self.left)

    @property
    def metrics(self) -> tuple[str, ...]:
        """See Measure."""
        names = search_names(self._cutoffs)
        backwards = tuple(BACKWARDS + name for name in names) if self._both_ways else ()
        return names + backwards

    def run(self, encoders: Encoders, stop: Stop) -> dict[str, float]:
        """See Measure."""
        left_LD = encoders.left.encode(self.left, self._batch_size, stop)
        right_RD = encoders.right.encode(self.right, self._batch_size, stop)
        forth = paired(self._left_N, self._right_N, len(right_RD))
        found = _searched(left_LD, right_RD, forth, self._cutoffs)
        if self._both_ways:
            back = paired(self._right_N, self._left_N, len(left_LD))
            other = _searched(right_RD, left_LD, back, self._cutoffs)
            found |= {BACKWARDS + name: value for name, value in other.items()}
        return found


@dataclass(frozen=True)
class ScoredPairs:
    """Spearman's rank correlation of the pairs' cosines with their scores, ties sharing a rank."""

    rows: PairRows
    batch_size: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def metrics(self) -> tuple[str, ...]:
        """See Measure."""
        return (SPEARMAN,)

    def run(self, encoders: Encoders, stop: Stop) -> dict[str, float]:
        """See Measure."""
        left_ND = encoders.left.encode(self.rows.left, self.batch_size, stop)
        right_ND = encoders.right.encode(self.rows.right, self.batch_size, stop)
        cosine_N = functional.cosine_similarity(left_ND, right_ND, dim=-1).double().numpy()
        scores_N = np.asarray(self.rows.scores_N, np.float64)
        return {SPEARMAN: spearman(cosine_N, scores_N)}


def spearman(a_N: NDArray[np.float64], b_N: NDArray[np.float64]) -> float:
    """Pearson's correlation of the ranks, ties sharing their mean rank; 0 if one side is flat."""
    rank_a, rank_b = (_ranks(x) - (len(x) - 1) / 2 for x in (a_N, b_N))
    norm = np.sqrt((rank_a**2).sum() * (rank_b**2).sum())
    return float((rank_a * rank_b).sum() / norm) if norm > 0 else 0.0


def search_names(cutoffs: Sequence[int]) -> tuple[str, ...]:
    """Names of a search's metrics, the default headline first."""
    k = 10 if 10 in cutoffs else max(cutoffs)
    at_k = ("precision", "recall", "hit", "f1", "ndcg")
    names = ["map", "mrr", "r_precision", *(f"{name}_at_{k}" for k in cutoffs for name in at_k)]
    return tuple(sorted(names, key=lambda name: name != f"ndcg_at_{k}"))


def _searched(
    queries_QD: Tensor, index_ND: Tensor | None, relevance: Relevance, cutoffs: Sequence[int]
) -> dict[str, float]:
    found = search_metrics(queries_QD, index_ND, relevance, cutoffs)
    log.info("evaluated queries=%d without_relevant_item=%d", found.queries, found.without_relevant)
    return found.metrics


def _labels(rows: LabelledRows, number: dict[str, int]) -> Tensor:
    return torch.from_numpy(np.fromiter((number[label] for label in rows.labels), np.int64))


def _ranks(values_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0; equal values get the mean of their ranks."""
    _, inverse_N, count_U = np.unique(values_N, return_inverse=True, return_counts=True)
    last_U = np.cumsum(count_U)
    mean_U: NDArray[np.float64] = last_U - (count_U + 1) / 2
    return mean_U[inverse_N]
