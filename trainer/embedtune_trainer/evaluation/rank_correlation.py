"""Spearman's rank correlation, ties sharing their mean rank."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def spearman(a_N: Values, b_N: Values) -> float:
    """Pearson's correlation of the ranks; 0 if one side is flat."""
    return float(spearman_of_draws(a_N, b_N, np.ones((1, len(a_N))))[0])


def spearman_of_draws(a_N: Values, b_N: Values, times_SN: Values) -> Values:
    """The same as if each pair had been there so many times: (S,) correlations.

    Sorting is needed once: in a draw a value's mean rank is the number of those below it, plus half
    of its own.
    """
    rank_a, rank_b = _mean_ranks(a_N, times_SN), _mean_ranks(b_N, times_SN)
    total_S = times_SN.sum(1)
    middle_S1 = (total_S / 2)[:, None]
    rank_a -= middle_S1
    rank_b -= middle_S1
    both, of_a, of_b = (
        np.einsum("sn,sn,sn->s", times_SN, one, other)
        for one, other in ((rank_a, rank_b), (rank_a, rank_a), (rank_b, rank_b))
    )
    norm_S = np.sqrt(of_a * of_b)
    out_S: Values = np.divide(both, norm_S, out=np.zeros_like(norm_S), where=norm_S > 0)
    return out_S


def _mean_ranks(value_N: Values, times_SN: Values) -> Values:
    """(S, N) ranks from 0, of a value's first place and the one behind its last the mean."""
    order_N = np.argsort(value_N, kind="stable")
    first_U = np.flatnonzero(np.r_[True, np.diff(value_N[order_N]) != 0])
    times_SU = np.add.reduceat(times_SN[:, order_N], first_U, axis=1)
    rank_SU = times_SU.cumsum(1) - times_SU / 2
    place_N = np.empty(len(value_N), np.int64)
    place_N[order_N] = np.repeat(np.arange(len(first_U)), np.diff(np.r_[first_U, len(value_N)]))
    rank_SN: Values = rank_SU[:, place_N]
    return rank_SN
