"""One search, judged by embedtune's metrics and once more by scikit-learn."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, ndcg_score
from torch import Tensor
from torch.nn.functional import normalize

from embedtune_trainer.evaluation.retrieval import Relevant, search_metrics

CUTOFFS = (1, 5, 10)
APART = 1e-4
"""The most that both may differ by; similarities of different order of summation swap places."""


class Judge:
    """Measures embeddings of the same items, whoever made them."""

    def __init__(self, relevant: Relevant, metrics: Sequence[str]) -> None:
        """`metrics` are those that are given, as search_metrics calls them."""
        self._relevant = relevant
        self._metrics = metrics

    def __call__(self, queries_QD: Tensor, index_ND: Tensor | None) -> dict[str, float]:
        """The metrics by name, 0 to 1.

        Args:
            queries_QD: embeddings of any length.
            index_ND: what is searched; None: the other queries.

        Raises:
            AssertionError: scikit-learn finds others.
        """
        found = search_metrics(queries_QD, index_ND, self._relevant, CUTOFFS).metrics
        for name, second in self._by_hand(queries_QD, index_ND).items():
            if abs(second - found[name]) > APART:
                raise AssertionError(f"{name} is {found[name]}, but scikit-learn finds {second}")
        return {name: found[name] for name in self._metrics}

    def _by_hand(self, queries_QD: Tensor, index_ND: Tensor | None) -> dict[str, float]:
        """By scikit-learn mAP and nDCG@10, by sorting R@k and P@1, query by query."""
        of: dict[str, list[float]] = {}
        searched = queries_QD if index_ND is None else index_ND
        scores_QN = (normalize(queries_QD, dim=-1) @ normalize(searched, dim=-1).T).double().numpy()
        scores_QN -= 1e-12 * np.arange(len(searched))  # of equal ones, the earlier goes first
        item_QR, there_QR = self._relevant.of(torch.arange(len(queries_QD)))
        for query, score_N in enumerate(scores_QN):
            is_relevant_N = np.zeros(len(searched), bool)
            is_relevant_N[item_QR[query][there_QR[query]].numpy()] = True
            others_N = np.arange(len(searched)) != (query if index_ND is None else -1)
            if is_relevant_N[others_N].any():
                for name, value in _of_one(is_relevant_N[others_N], score_N[others_N]).items():
                    of.setdefault(name, []).append(value)
        return {name: float(np.mean(values)) for name, values in of.items()}


def _of_one(is_relevant_N: NDArray[np.bool_], score_N: NDArray[np.float64]) -> dict[str, float]:
    hit_N = is_relevant_N[np.argsort(-score_N)]
    return {
        "map": float(average_precision_score(is_relevant_N, score_N)),
        "ndcg_at_10": float(ndcg_score(is_relevant_N[None], score_N[None], k=10)),
        "precision_at_1": float(hit_N[0]),
        **{f"recall_at_{k}": float(hit_N[:k].sum() / hit_N.sum()) for k in CUTOFFS},
    }
