"""What a model is measured on: a search with labels or pairs, or a rank correlation of scores."""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.encoding import Prepared
from embedtune_trainer.errors import Interrupted
from embedtune_trainer.evaluation import examples as shown
from embedtune_trainer.evaluation.clusters import nmi
from embedtune_trainer.evaluation.examples import Example
from embedtune_trainer.evaluation.outcome import SPEARMAN, Outcome, QueryValues, ScoredValues
from embedtune_trainer.evaluation.rank_correlation import spearman
from embedtune_trainer.evaluation.retrieval import (
    Relevant,
    Retrieval,
    paired,
    same_label,
    search_metrics,
)
from embedtune_trainer.rows.columns.labels import Labels
from embedtune_trainer.rows.table import Items, LabelledRows, PairRows

log = logging.getLogger("embedtune")

Stop = Callable[[], bool]
BACKWARDS: Final = "image_to_text_"
"""Stands before metrics of the search for texts with images."""
NMI: Final = "nmi"
EXAMPLES: Final = 5


class Measure(Protocol):
    """Data to measure on, and how."""

    def __len__(self) -> int:
        """Queries, or scored pairs."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what `run` gives, the default headline first."""

    @property
    def searched_with(self) -> Items:
        """The items that an example's query_row counts."""

    @property
    def searched_in(self) -> Items:
        """The items that a hit's row counts."""

    def run(self, encoders: Encoders, stop: Stop) -> Outcome:
        """Measure; by name, from 0 to 1 (a correlation from -1).

        Raises:
            Interrupted: stop() was true.
        """

    def examples(self, before: Outcome, after: Outcome) -> list[Example]:
        """Some queries with their neighbours by both models; none for scored pairs."""


class LabelSearch:
    """Every query in the index, or in the other queries when there is none.

    Attributes:
        queries: rows to search with.
        index: rows to search in, if they are others.
    """

    def __init__(
        self,
        queries: LabelledRows,
        index: LabelledRows | None,
        cutoffs: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        examples: int = EXAMPLES,
    ) -> None:
        """`seed` is that of the clusters and of the queries that are shown, `examples` of them."""
        self.queries = queries
        self.index = index
        self._cutoffs = cutoffs
        self._batch_size = batch_size
        self._seed = seed
        self._prepared = Prepared(queries.items)
        self._prepared_index = None if index is None else Prepared(index.items)
        self._label_Q, label_N = _numbered(queries.labels, (index or queries).labels)
        self._classes = len(np.unique(self._label_Q))
        self._relevant = same_label(torch.from_numpy(self._label_Q), torch.from_numpy(label_N))
        self._shown = shown.draw(self._relevant, index is None, examples, seed)

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def metrics(self) -> tuple[str, ...]:
        """See Measure; nmi only where there is more than one class."""
        return search_names(self._cutoffs) + ((NMI,) if self._classes > 1 else ())

    @property
    def searched_with(self) -> Items:
        """See Measure."""
        return self.queries.items

    @property
    def searched_in(self) -> Items:
        """See Measure."""
        return (self.index or self.queries).items

    def run(self, encoders: Encoders, stop: Stop) -> Outcome:
        """See Measure."""
        size, left = self._batch_size, encoders.left
        queries_QD = self._prepared.encode(left, size, stop)
        index_ND = None
        if self._prepared_index is not None:
            index_ND = self._prepared_index.encode(left, size, stop)
        sides = queries_QD, index_ND, self._relevant
        found = _searched(*sides, self._cutoffs, left.device, stop)
        metrics = found.metrics
        if self._classes > 1:
            metrics[NMI] = nmi(queries_QD, self._label_Q, self._seed)
        nearest = shown.nearest(*sides, self._shown)
        return Outcome(metrics, [QueryValues(found.values)], nearest)

    def examples(self, before: Outcome, after: Outcome) -> list[Example]:
        """See Measure."""
        labels = [self.queries.labels[row] for row in self._shown.tolist()]
        return shown.examples(before, after, self.searched_with, self.searched_in, labels)


class PairSearch:
    """Every different left item searched in the different right ones; images also backwards.

    Attributes:
        rows: the pairs.
        left: the different left items, which are searched with.
        right: the different right items, which are searched.
    """

    def __init__(
        self,
        rows: PairRows,
        cutoffs: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        examples: int = EXAMPLES,
    ) -> None:
        """`seed` is that of the queries that are shown, `examples` of them."""
        relation = Relation.of(rows)
        _, first_L, left_N = np.unique(relation.left_N, return_index=True, return_inverse=True)
        _, first_R, right_N = np.unique(relation.right_N, return_index=True, return_inverse=True)
        self.rows = rows
        self.left = rows.left.take(first_L.tolist())
        self.right = rows.right.take(first_R.tolist())
        self._prepared = Prepared(self.left), Prepared(self.right)
        numbers = torch.from_numpy(left_N), torch.from_numpy(right_N)
        self._forth = paired(*numbers, len(self.left))
        self._back = paired(*numbers[::-1], len(self.right))
        self._cutoffs = cutoffs
        self._batch_size = batch_size
        self._both_ways = rows.left.modality != rows.right.modality
        self._shown = shown.draw(self._forth, False, examples, seed)

    def __len__(self) -> int:
        return len(self.left)

    @property
    def metrics(self) -> tuple[str, ...]:
        """See Measure."""
        names = search_names(self._cutoffs)
        backwards = tuple(BACKWARDS + name for name in names) if self._both_ways else ()
        return names + backwards

    @property
    def searched_with(self) -> Items:
        """See Measure."""
        return self.left

    @property
    def searched_in(self) -> Items:
        """See Measure."""
        return self.right

    def run(self, encoders: Encoders, stop: Stop) -> Outcome:
        """See Measure."""
        left_LD, right_RD = (
            prepared.encode(encoder, self._batch_size, stop)
            for prepared, encoder in zip(
                self._prepared, (encoders.left, encoders.right), strict=True
            )
        )
        how = self._cutoffs, encoders.left.device, stop
        values = [_searched(left_LD, right_RD, self._forth, *how).values]
        if self._both_ways:
            back = _searched(right_RD, left_LD, self._back, *how).values
            values.append({BACKWARDS + name: value_Q for name, value_Q in back.items()})
        metrics = {name: float(value_Q.mean()) for of in values for name, value_Q in of.items()}
        nearest = shown.nearest(left_LD, right_RD, self._forth, self._shown)
        return Outcome(metrics, [QueryValues(one) for one in values], nearest)

    def examples(self, before: Outcome, after: Outcome) -> list[Example]:
        """See Measure."""
        return shown.examples(before, after, self.left, self.right, None)


class ScoredPairs:
    """Spearman's rank correlation of the pairs' cosines with their scores, ties sharing a rank.

    Attributes:
        rows: the pairs.
    """

    metrics = (SPEARMAN,)

    def __init__(self, rows: PairRows, batch_size: int) -> None:
        self.rows = rows
        self._batch_size = batch_size
        self._prepared = Prepared(rows.left), Prepared(rows.right)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def searched_with(self) -> Items:
        """See Measure."""
        return self.rows.left

    @property
    def searched_in(self) -> Items:
        """See Measure."""
        return self.rows.right

    def run(self, encoders: Encoders, stop: Stop) -> Outcome:
        """See Measure."""
        left_ND, right_ND = (
            prepared.encode(encoder, self._batch_size, stop)
            for prepared, encoder in zip(
                self._prepared, (encoders.left, encoders.right), strict=True
            )
        )
        cosine_N = functional.cosine_similarity(left_ND, right_ND, dim=-1).double().numpy()
        scores_N = np.asarray(self.rows.scores_N, np.float64)
        found = {SPEARMAN: spearman(cosine_N, scores_N)}
        return Outcome(found, [ScoredValues(cosine_N, scores_N)])

    def examples(self, before: Outcome, after: Outcome) -> list[Example]:  # noqa: ARG002
        """See Measure."""
        return []


def search_names(cutoffs: Sequence[int]) -> tuple[str, ...]:
    """Names of a search's metrics, the default headline first."""
    k = 10 if 10 in cutoffs else max(cutoffs)
    at_k = ("precision", "recall", "hit", "f1", "ndcg")
    names = ["map", "mrr", "r_precision", *(f"{name}_at_{k}" for k in cutoffs for name in at_k)]
    return tuple(sorted(names, key=lambda name: name != f"ndcg_at_{k}"))


def _searched(
    queries_QD: Tensor,
    index_ND: Tensor | None,
    relevant: Relevant,
    cutoffs: Sequence[int],
    device: torch.device,
    stop: Stop,
) -> Retrieval:
    def check() -> None:
        if stop():
            raise Interrupted("stopped while searching")

    found = search_metrics(queries_QD, index_ND, relevant, cutoffs, device, check)
    log.info("evaluated queries=%d without_relevant_item=%d", found.queries, found.without_relevant)
    return found


def _numbered(a: Labels, b: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each row's class as a number; the same class has the same one on both sides."""
    number = {name: i for i, name in enumerate(sorted({*a.names, *b.names}))}
    return tuple(
        np.array([number[name] for name in labels.names], np.int64)[labels.codes_N]
        for labels in (a, b)
    )  # type: ignore[return-value]
