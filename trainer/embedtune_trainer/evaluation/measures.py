"""What a model is measured on: a search with labels or pairs, or a rank correlation of scores."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from embedtune_trainer.evaluation.examples import Examples
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
from embedtune_trainer.rows.table import Items, LabelledRows, PairRows, Rows

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
    def measured_on(self) -> tuple[Rows, ...]:
        """The rows to search with, and those to search in if they are others."""

    def run(self, encoders: Encoders, stop: Stop) -> Outcome:
        """Measure; by name, from 0 to 1 (a correlation from -1).

        Raises:
            Interrupted: stop() was true.
        """

    def examples(self, before: Outcome, after: Outcome) -> list[Examples]:
        """Some queries of each way with their neighbours by both models; none of scored pairs."""


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
    def measured_on(self) -> tuple[Rows, ...]:
        """See Measure."""
        return (self.queries,) if self.index is None else (self.queries, self.index)

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
        return Outcome(metrics, [QueryValues(found.values)], [nearest])

    def examples(self, before: Outcome, after: Outcome) -> list[Examples]:
        """See Measure."""
        labels = [self.queries.labels[row] for row in self._shown.tolist()]
        items = self.queries.items, (self.index or self.queries).items
        return [
            shown.examples(old, new, *items, labels=labels)
            for old, new in zip(before.nearest, after.nearest, strict=True)
        ]


@dataclass(frozen=True)
class _Way:
    """One of the two ways in which pairs can be searched.

    Attributes:
        prefix: stands before its metrics.
        queries: the items to search with.
        index: those to search in.
        relevant: which of these belong to each query.
        query_E: the queries whose neighbours are shown.
    """

    prefix: str
    queries: Items
    index: Items
    relevant: Relevant
    query_E: NDArray[np.int64]

    @property
    def name(self) -> str:
        """From which items to which."""
        return f"{self.queries.modality} to {self.index.modality}"


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
        items = self.left, self.right
        relevant = paired(*numbers, len(self.left))
        drawn = shown.draw(relevant, False, examples, seed)
        self._ways = [_Way("", *items, relevant, drawn)]
        if self.left.modality != self.right.modality:
            relevant = paired(*numbers[::-1], len(self.right))
            drawn = shown.draw(relevant, False, examples, seed)
            self._ways.append(_Way(BACKWARDS, *items[::-1], relevant, drawn))
        self._cutoffs = cutoffs
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(self.left)

    @property
    def metrics(self) -> tuple[str, ...]:
        """See Measure."""
        names = search_names(self._cutoffs)
        return tuple(way.prefix + name for way in self._ways for name in names)

    @property
    def measured_on(self) -> tuple[Rows, ...]:
        """See Measure."""
        return (self.rows,)

    def run(self, encoders: Encoders, stop: Stop) -> Outcome:
        """See Measure."""
        left_LD, right_RD = (
            prepared.encode(encoder, self._batch_size, stop)
            for prepared, encoder in zip(
                self._prepared, (encoders.left, encoders.right), strict=True
            )
        )
        values, nearest = [], []
        sides = (left_LD, right_RD), (right_RD, left_LD)
        for way, (queries_QD, index_ND) in zip(self._ways, sides, strict=False):
            given = queries_QD, index_ND, way.relevant
            found = _searched(*given, self._cutoffs, encoders.left.device, stop).values
            values.append({way.prefix + name: value_Q for name, value_Q in found.items()})
            nearest.append(shown.nearest(*given, way.query_E))
        metrics = {name: float(value_Q.mean()) for of in values for name, value_Q in of.items()}
        return Outcome(metrics, [QueryValues(one) for one in values], nearest)

    def examples(self, before: Outcome, after: Outcome) -> list[Examples]:
        """See Measure."""
        both_ways = len(self._ways) > 1
        return [
            shown.examples(old, new, way.queries, way.index, way=way.name if both_ways else "")
            for way, old, new in zip(self._ways, before.nearest, after.nearest, strict=True)
        ]


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
    def measured_on(self) -> tuple[Rows, ...]:
        """See Measure."""
        return (self.rows,)

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

    def examples(self, before: Outcome, after: Outcome) -> list[Examples]:  # noqa: ARG002
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
