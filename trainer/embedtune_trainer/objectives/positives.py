"""A batch's pairs of one class, any stretch of them, without a list of all.

They are in the anchors' order, and of one anchor in the positives' order. A class of n rows has n
(n - 1) of them, so that a batch of one class has about as many as its square.
"""

import numpy as np
import torch
from torch import Tensor


class Positives:
    """The (anchor, positive) pairs of rows with these labels.

    Attributes:
        count: P, how many there are.
        anchor_A: numpy, the rows that have a positive, ascending.
        largest: rows of the largest class.
    """

    def __init__(self, labels_B: Tensor) -> None:
        """`labels_B` are integers on the CPU."""
        _, class_B, size_C = np.unique(labels_B.numpy(), return_inverse=True, return_counts=True)
        self._order_B = np.argsort(class_B, kind="stable")
        first_C = np.cumsum(size_C) - size_C
        self._first_B = first_C[class_B]
        self._rank_B = np.empty(len(class_B), np.int64)
        self._rank_B[self._order_B] = np.arange(len(class_B)) - np.repeat(first_C, size_C)
        self._others_B = size_C[class_B] - 1
        self._begin_B = np.cumsum(self._others_B) - self._others_B
        self.count = int(self._others_B.sum())
        self.anchor_A = np.flatnonzero(self._others_B)
        self.largest = int(size_C.max(initial=0))

    def pairs(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Anchors and positives, row numbers on the CPU, of the pairs from begin to before end."""
        pair_P = np.arange(begin, end)
        anchor_P = np.searchsorted(self._begin_B, pair_P, side="right") - 1
        nth_P = pair_P - self._begin_B[anchor_P]
        nth_P += nth_P >= self._rank_B[anchor_P]  # a row is no positive of itself
        positive_P = self._order_B[self._first_B[anchor_P] + nth_P]
        return torch.from_numpy(anchor_P), torch.from_numpy(positive_P)
