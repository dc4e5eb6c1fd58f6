"""Retrieval metrics in their textbook definitions (Manning, Raghavan, Schuetze 2008, chapter 8).

For a query with R relevant items in the index, ranked by similarity, rel(i) being 1 if the item
at rank i is relevant and h(k) the number of relevant items among the first k:

    precision_at_k  h(k) / k
    recall_at_k     h(k) / R
    hit_at_k        1 if h(k) > 0
    f1_at_k         2 h(k) / (k + R), the harmonic mean of the two
    ndcg_at_k       sum_{i<=k} rel(i) / log2(i + 1), divided by its value when the first
                    min(k, R) are relevant
    r_precision     h(R) / R
    mrr             1 / rank of the first relevant item
    map             average precision, 1/R sum_i rel(i) h(i) / i, over the whole ranking

Each is averaged over the queries that have a relevant item. Equal similarities are ranked by
their place in the index.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_ELEMENTS = 2**23
"""Similarities (queries times index) that are ranked at a time."""


@dataclass(frozen=True)
class Retrieval:
    """The outcome of a search.

    Attributes:
        metrics: by name, each from 0 to 1; empty if no query has a relevant item.
        queries: that the metrics are averaged over.
        without_relevant: queries left out, since the index has no relevant item for them.
    """

    metrics: dict[str, float]
    queries: int
    without_relevant: int


Relevance = Callable[[int, int], Tensor]
"""(end - begin, N) bool for the queries from begin to end: whether each item is relevant."""


def same_label(query_labels_Q: Tensor, index_labels_N: Tensor) -> Relevance:
    """An item is relevant if it has the query's label (integers)."""
    return lambda begin, end: query_labels_Q[begin:end, None] == index_labels_N


def paired(queries_P: Tensor, items_P: Tensor, index_size: int) -> Relevance:
    """An item is relevant if it is listed with the query: the numbers of both, a pair each."""
    order_P = queries_P.argsort(stable=True)
    queries_P, items_P = queries_P[order_P].contiguous(), items_P[order_P]

    def block(begin: int, end: int) -> Tensor:
        first, last = torch.searchsorted(queries_P, torch.tensor([begin, end])).tolist()
        relevant_QN = torch.zeros(end - begin, index_size, dtype=torch.bool)
        relevant_QN[queries_P[first:last] - begin, items_P[first:last]] = True
        return relevant_QN

    return block


def search_metrics(
    queries_QD: Tensor,
    index_ND: Tensor | None,
    relevance: Relevance,
    cutoffs: Sequence[int],
) -> Retrieval:
    """Search every query in the index by cosine similarity.

    Args:
        queries_QD: embeddings, of any length.
        index_ND: embeddings; None searches each query in the other queries, itself left out of
            both the results and R.
        relevance: which items are relevant.
        cutoffs: the values of k.
    """
    leave_one_out = index_ND is None
    queries_QD = functional.normalize(queries_QD.float(), dim=-1)
    index_ND = queries_QD if index_ND is None else functional.normalize(index_ND.float(), dim=-1)
    sums: dict[str, float] = {}
    counted = 0
    rows = max(1, BLOCK_ELEMENTS // max(1, len(index_ND)))
    for begin in range(0, len(queries_QD), rows):
        score_QN = queries_QD[begin : begin + rows] @ index_ND.T
        relevant_QN = relevance(begin, begin + len(score_QN))
        if leave_one_out:
            place_Q = torch.arange(len(score_QN))
            score_QN[place_Q, begin + place_Q] = float("-inf")
            relevant_QN[place_Q, begin + place_Q] = False
        has_Q = relevant_QN.any(1)
        counted += int(has_Q.sum())
        order_QN = score_QN[has_Q].argsort(dim=1, descending=True, stable=True)
        ranked_QN = relevant_QN[has_Q].gather(1, order_QN)
        for name, value_Q in ranking_metrics(ranked_QN, cutoffs).items():
            sums[name] = sums.get(name, 0.0) + float(value_Q.sum())
    means = {name: total / counted for name, total in sums.items()} if counted else {}
    return Retrieval(means, counted, len(queries_QD) - counted)


def ranking_metrics(ranked_QN: Tensor, cutoffs: Sequence[int]) -> dict[str, Tensor]:
    """Each query's metrics, (Q,) float64.

    Args:
        ranked_QN: whether the item at each rank is relevant, bool, with at least one in a line.
        cutoffs: the values of k; beyond the index, nothing is relevant.
    """
    relevant_QN = ranked_QN.double()
    hits_QN = relevant_QN.cumsum(1)
    count_Q = hits_QN[:, -1]
    rank_N = torch.arange(1, ranked_QN.shape[1] + 1, dtype=torch.float64)
    gain_N = 1.0 / torch.log2(rank_N + 1)
    dcg_QN = (relevant_QN * gain_N).cumsum(1)
    ideal_N = gain_N.cumsum(0)
    out = {
        "map": (relevant_QN * hits_QN / rank_N).sum(1) / count_Q,
        "mrr": 1.0 / (ranked_QN.int().argmax(1) + 1).double(),
        "r_precision": _at(hits_QN, count_Q.long()) / count_Q,
    }
    for k in cutoffs:
        last = min(k, ranked_QN.shape[1]) - 1
        hits_Q = hits_QN[:, last]
        out[f"precision_at_{k}"] = hits_Q / k
        out[f"recall_at_{k}"] = hits_Q / count_Q
        out[f"hit_at_{k}"] = (hits_Q > 0).double()
        out[f"f1_at_{k}"] = 2 * hits_Q / (k + count_Q)
        out[f"ndcg_at_{k}"] = dcg_QN[:, last] / ideal_N[count_Q.long().clamp(max=k) - 1]
    return out


def _at(values_QN: Tensor, rank_Q: Tensor) -> Tensor:
    return values_QN.gather(1, rank_Q[:, None] - 1)[:, 0]
