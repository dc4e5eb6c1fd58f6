"""For some queries the nearest neighbours, before and after, for people to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from embedtune_trainer.evaluation.outcome import Nearest
from embedtune_trainer.evaluation.retrieval import Relevant
from embedtune_trainer.rows.table import Items, Texts

NEIGHBOURS: Final = 5


@dataclass(frozen=True)
class Hit:
    """A neighbour.

    Attributes:
        row: of the items that were searched.
        text: what it says; None if it is no text.
        score: its cosine with the query.
        relevant: whether it belongs to the query.
    """

    row: int
    text: str | None
    score: float
    relevant: bool


@dataclass(frozen=True)
class Example:
    """A query and what is nearest to it.

    Attributes:
        query_row: of the items that are searched with.
        query_text: what it says; None if it is no text.
        label: its class, if it has one.
        before: the untouched model's neighbours, nearest first.
        after: the tuned model's.
    """

    query_row: int
    query_text: str | None
    label: str | None
    before: list[Hit]
    after: list[Hit]


@dataclass(frozen=True)
class Examples:
    """Those of one search.

    Attributes:
        queries: the items that an example's query_row counts.
        index: those that a hit's row counts.
        examples: some of the queries, each with its neighbours.
        way: from which items to which, as "text to image"; empty if there is one way alone.
    """

    queries: Items
    index: Items
    examples: list[Example]
    way: str = ""


def draw(relevant: Relevant, leave_one_out: bool, count: int, seed: int) -> NDArray[np.int64]:
    """At most so many of the queries that have a relevant item."""
    has = np.flatnonzero(relevant.count_Q.numpy() > int(leave_one_out))
    return np.sort(np.random.default_rng((seed, 0xE8A)).permutation(has)[:count])


def nearest(
    queries_QD: Tensor,
    index_ND: Tensor | None,
    relevant: Relevant,
    query_E: NDArray[np.int64],
    neighbours: int = NEIGHBOURS,
) -> list[Nearest]:
    """The neighbours of some queries.

    Args:
        queries_QD: embeddings, of any length.
        index_ND: likewise; None searches each query in the others.
        relevant: which items are.
        query_E: the rows of the queries.
        neighbours: of each query, at most.
    """
    items_ND = queries_QD if index_ND is None else index_ND
    unit_ND = functional.normalize(items_ND.float(), dim=-1)
    found = []
    for query in query_E.tolist():
        score_N = unit_ND @ functional.normalize(queries_QD[query].float(), dim=-1)
        if index_ND is None:
            score_N[query] = float("-inf")
        count = min(neighbours, len(score_N) - int(index_ND is None))
        score_K, row_K = score_N.topk(count)
        belongs = set(relevant.of(torch.tensor([query]))[0][0].tolist())
        rows = tuple(row_K.tolist())
        scores = tuple(score_K.tolist())
        found.append(Nearest(query, rows, scores, tuple(row in belongs for row in rows)))
    return found


def examples(
    before: Sequence[Nearest],
    after: Sequence[Nearest],
    queries: Items,
    index: Items,
    *,
    labels: list[str] | None = None,
    way: str = "",
) -> Examples:
    """The neighbours of the same queries by both models, side by side.

    Args:
        before: by the untouched model.
        after: by the tuned one.
        queries: the items that were searched with.
        index: those that were searched.
        labels: of each of these queries, in their order; None if they have none.
        way: see Examples.
    """
    found = [
        Example(
            old.query,
            _text(queries, old.query),
            None if labels is None else labels[number],
            _hits(old, index),
            _hits(new, index),
        )
        for number, (old, new) in enumerate(zip(before, after, strict=True))
    ]
    return Examples(queries, index, found, way)


def _hits(found: Nearest, index: Items) -> list[Hit]:
    columns = (found.rows_K, found.scores_K, found.relevant_K)
    return [
        Hit(row, _text(index, row), score, relevant)
        for row, score, relevant in zip(*columns, strict=True)
    ]


def _text(items: Items, row: int) -> str | None:
    return items.values[row] if isinstance(items, Texts) else None
