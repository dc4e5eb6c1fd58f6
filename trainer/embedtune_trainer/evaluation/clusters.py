"""How well classes show as clusters: k-means, and its mutual information with the labels."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

ROWS: Final = 4096
"""Most rows that are clustered; of more, so many are drawn."""
ITERATIONS: Final = 100
Indices = NDArray[np.int64]


def nmi(embedded_ND: Tensor, label_N: Indices, seed: int) -> float:
    """Normalised mutual information of the labels with as many clusters as there are labels.

    Embeddings are clustered at length 1, from one k-means++ start.

    Args:
        embedded_ND: of any length.
        label_N: integers.
        seed: of the start, and of the rows where they are more than ROWS.
    """
    rng = np.random.default_rng((seed, 0x2131))
    if len(label_N) > ROWS:
        drawn = np.sort(rng.permutation(len(label_N))[:ROWS])
        embedded_ND, label_N = embedded_ND[torch.from_numpy(drawn)], label_N[drawn]
    unit_ND = functional.normalize(embedded_ND.float(), dim=-1)
    _, label_N = np.unique(label_N, return_inverse=True)
    starts = k_means_start(unit_ND, int(label_N.max()) + 1, rng)
    return normalised_information(label_N, k_means(unit_ND, starts).numpy())


def k_means_start(x_ND: Tensor, clusters: int, rng: np.random.Generator) -> Tensor:
    """(K, D) rows to start from, each drawn in proportion to its squared distance from the nearest
    one before (k-means++, Arthur and Vassilvitskii 2007). Where no row is apart from those, the
    draw is uniform.
    """
    square_N = x_ND.square().sum(1)
    chosen = [int(rng.integers(len(x_ND)))]
    nearest_N = torch.full((len(x_ND),), float("inf"))
    while len(chosen) < clusters:
        last = x_ND[chosen[-1]]
        apart_N = square_N - 2 * (x_ND @ last) + last.square().sum()
        nearest_N = torch.minimum(nearest_N, apart_N.clamp(min=0))
        cumulated_N = nearest_N.double().cumsum(0).numpy()
        if cumulated_N[-1] > 0:
            at = np.searchsorted(cumulated_N, rng.random() * cumulated_N[-1], side="right")
            chosen.append(min(int(at), len(x_ND) - 1))
        else:
            chosen.append(int(rng.integers(len(x_ND))))
    return x_ND[chosen]


def k_means(x_ND: Tensor, centre_KD: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """(N,) each row's cluster after Lloyd's algorithm, until nothing moves.

    A cluster that has lost all rows keeps its centre.
    """
    cluster_N = torch.full((len(x_ND),), -1)
    for _ in range(iterations):
        apart_NK = centre_KD.square().sum(1) - 2 * (x_ND @ centre_KD.T)
        found_N = apart_NK.argmin(1)
        if torch.equal(found_N, cluster_N):
            break
        cluster_N = found_N
        sum_KD = torch.zeros_like(centre_KD).index_add_(0, cluster_N, x_ND)
        count_K1 = torch.bincount(cluster_N, minlength=len(centre_KD))[:, None]
        centre_KD = torch.where(count_K1 > 0, sum_KD / count_K1.clamp(min=1), centre_KD)
    return cluster_N


def normalised_information(a_N: Indices, b_N: Indices) -> float:
    """Mutual information over the mean of both entropies, from 0 to 1, as scikit-learn has it.

    1 if both are one class. Numbers from 0.
    """
    width = int(b_N.max()) + 1
    pair_P = np.bincount(a_N * width + b_N) / len(a_N)
    both, of_a, of_b = (
        _entropy(p) for p in (pair_P, np.bincount(a_N) / len(a_N), np.bincount(b_N) / len(b_N))
    )
    if of_a == of_b == 0:
        return 1.0
    return float(np.clip(2 * (of_a + of_b - both) / (of_a + of_b), 0.0, 1.0))


def _entropy(share_C: NDArray[np.float64]) -> float:
    share_C = share_C[share_C > 0]
    return float(-(share_C * np.log(share_C)).sum())
