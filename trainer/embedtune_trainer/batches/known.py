"""Which of a batch's candidates belong to which of its anchors, a few anchors at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class KnownInBatch:
    """The known pairs of a batch's anchors and candidates.

    Only those that are there are looked up, so that it costs about as much as sorting where few
    are, and memory for a block of anchors alone where many are.
    """

    def __init__(
        self, pairs_P: Indices, item_count: int, anchor_B: Indices, columns: Sequence[Indices]
    ) -> None:
        """Of one batch.

        Args:
            pairs_P: a * item_count + b of all items a and b that belong together, sorted.
            item_count: how many different items there are.
            anchor_B: the anchors' items by number.
            columns: (B,) the candidates' items, one column after the other.
        """
        self._pairs_P = pairs_P
        self._count = item_count
        self._anchor_B = anchor_B
        candidate_C = np.concatenate(columns)
        self._order_C = np.argsort(candidate_C, kind="stable")
        self._sorted_C = candidate_C[self._order_C]

    def rows(self, begin: int, end: int) -> tuple[Indices, Indices]:
        """(K,) anchors, less begin, and (K,) candidates that belong to them or are the same item.

        Each pair once, in no particular order.
        """
        anchor_A, of_R = np.unique(self._anchor_B[begin:end], return_inverse=True)
        number_S, item_S = self._items(anchor_A)
        distinct_S = np.unique(number_S * self._count + item_S)
        number_S, item_S = distinct_S // self._count, distinct_S % self._count
        low_S = np.searchsorted(self._sorted_C, item_S)
        high_S = np.searchsorted(self._sorted_C, item_S, side="right")
        number_K, place_K = _spread(number_S, low_S, high_S)
        row_K, at_K = self._by_row(of_R, number_K, len(anchor_A))
        return row_K, self._order_C[place_K[at_K]]

    def _items(self, anchor_A: Indices) -> tuple[Indices, Indices]:
        """(S,) places in anchor_A, and items that belong there: the same, and those of pairs.

        Of an anchor that more belongs to than there are candidates only these are looked up.
        """
        codes = np.stack((anchor_A, anchor_A + 1)) * self._count
        first_A, last_A = np.searchsorted(self._pairs_P, codes)
        few_A = last_A - first_A <= len(self._sorted_C)
        (place_F,) = np.nonzero(few_A)
        number_S, pair_S = _spread(place_F, first_A[few_A], last_A[few_A])
        numbers = [np.arange(len(anchor_A)), number_S]
        items = [anchor_A, self._pairs_P[pair_S] % self._count]
        for place in np.flatnonzero(~few_A):
            found = self._among_candidates(int(anchor_A[place]))
            numbers.append(np.full(len(found), place))
            items.append(found)
        return np.concatenate(numbers), np.concatenate(items)

    def _among_candidates(self, anchor: int) -> Indices:
        item_U = np.unique(self._sorted_C)
        code_U = anchor * self._count + item_U
        place_U = np.searchsorted(self._pairs_P, code_U).clip(max=len(self._pairs_P) - 1)
        known_U: Indices = item_U[self._pairs_P[place_U] == code_U]
        return known_U

    @staticmethod
    def _by_row(of_R: Indices, number_K: Indices, anchors: int) -> tuple[Indices, Indices]:
        """From what belongs to the different anchors to what belongs to each row."""
        first_A = np.searchsorted(number_K, np.arange(anchors))
        last_A = np.searchsorted(number_K, np.arange(anchors), side="right")
        return _spread(np.arange(len(of_R)), first_A[of_R], last_A[of_R])


def _spread(number_S: Indices, first_S: Indices, last_S: Indices) -> tuple[Indices, Indices]:
    """Each number with each place from its first to before its last."""
    length_S = last_S - first_S
    begin_S = np.cumsum(length_S) - length_S
    place_K = np.arange(int(length_S.sum())) + np.repeat(first_S - begin_S, length_S)
    return np.repeat(number_S, length_S), place_K
