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

from collections.abc import Sequence

import torch
from torch import Tensor


def ranking_metrics(rank_BR: Tensor, count_B: Tensor, cutoffs: Sequence[int]) -> dict[str, Tensor]:
    """Each query's metrics, (B,) float64.

    Args:
        rank_BR: the ranks of its relevant items from 1, ascending; what is behind the last one is
            larger than all.
        count_B: how many there are, at least one.
        cutoffs: the values of k.
    """
    rank_BR, count_B = rank_BR.double(), count_B.double()
    number_R = torch.arange(1, rank_BR.shape[1] + 1, dtype=torch.float64)
    there_BR = number_R <= count_B[:, None]
    out = {
        "map": (there_BR * number_R / rank_BR).sum(1) / count_B,
        "mrr": 1.0 / rank_BR[:, 0],
        "r_precision": (rank_BR <= count_B[:, None]).sum(1) / count_B,
    }
    for k in cutoffs:
        found_BR = rank_BR <= k
        hits_B = found_BR.sum(1).double()
        out[f"precision_at_{k}"] = hits_B / k
        out[f"recall_at_{k}"] = hits_B / count_B
        out[f"hit_at_{k}"] = (hits_B > 0).double()
        out[f"f1_at_{k}"] = 2 * hits_B / (k + count_B)
        gain_BR = found_BR / torch.log2(rank_BR + 1)
        ideal_k = (1.0 / torch.log2(torch.arange(2, k + 2, dtype=torch.float64))).cumsum(0)
        out[f"ndcg_at_{k}"] = gain_BR.sum(1) / ideal_k[count_B.long().clamp(max=k) - 1]
    return out
