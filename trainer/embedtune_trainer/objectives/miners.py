"""Which triplets (anchor a, positive p, negative n) of a batch the loss is taken over.

With d the distance and m the loss's margin, a triplet's row a and p have one class, are different
rows, and n is of another class. typeOfTriplets chooses among all of them:

    all       d(a,n) - d(a,p) < m: each triplet that violates the margin.
    semihard  for each (a,p) one negative: the nearest that is farther than the positive, or the
              farthest of all where none is (Schroff et al. 2015, FaceNet, as TensorFlow Addons
              and sentence-transformers' BatchSemiHardTripletLoss have it). Pairs whose negative
              keeps the margin count in the average, with 0.
    hard      for each anchor its farthest positive with its nearest negative, if they violate the
              margin (Hermans et al. 2017, batch-hard).

all is that of pytorch-metric-learning's TripletMarginMiner (which counts a triplet at exactly m,
whose hinge is 0). Its semihard, every negative with 0 < d(a,n) - d(a,p) < m, is another: trained
on the TREC questions it came out .04 lower in mAP. Its "hard", all triplets with d(a,n) <= d(a,p),
is another, too. Ties go to the earlier row.
"""

from typing import Literal

import torch
from torch import Tensor

from embedtune_api.base import ApiModel


class TripletMarginMiner(ApiModel):
    """Chooses triplets by how they violate the margin."""

    type_of_triplets: Literal["all", "semihard", "hard"] = "semihard"
    """all, semihard or hard (default semihard)"""

    def positives(self, distance_AB: Tensor, same_AB: Tensor) -> Tensor:
        """(A,): each anchor's farthest positive, which is the one that hard triplets have.

        Args:
            distance_AB: d(a,p) for every row p of the batch.
            same_AB: whether p is a positive of a; each anchor has one.
        """
        return _first_max(distance_AB.masked_fill(~same_AB, float("-inf")))

    def negatives(
        self, positive_P: Tensor, negative_PB: Tensor, other_PB: Tensor, margin: float
    ) -> Tensor:
        """Which negatives go with each pair.

        Args:
            positive_P: d(a,p).
            negative_PB: d(a,n) for every row n of the batch.
            other_PB: whether n is of another class than a.
            margin: m.

        Returns:
            (P, B) bool.
        """
        if self.type_of_triplets == "semihard":
            farther_PB = other_PB & (negative_PB > positive_P[:, None])
            nearest_P = _nearest(negative_PB, farther_PB)
            farthest_P = _first_max(negative_PB.masked_fill(~other_PB, float("-inf")))
            return other_PB & _one_hot(
                torch.where(farther_PB.any(1), nearest_P, farthest_P), other_PB
            )
        chosen_PB = other_PB & (negative_PB - positive_P[:, None] < margin)
        if self.type_of_triplets == "hard":
            return chosen_PB & _one_hot(_nearest(negative_PB, other_PB), other_PB)
        return chosen_PB


def _nearest(distance_PB: Tensor, among_PB: Tensor) -> Tensor:
    return _first_max(-distance_PB.masked_fill(~among_PB, float("inf")))


def _one_hot(place_P: Tensor, like_PB: Tensor) -> Tensor:
    return torch.arange(like_PB.shape[1], device=like_PB.device) == place_P[:, None]


def _first_max(values_PB: Tensor) -> Tensor:
    """(P,): where each line's largest value first stands (argmax alone leaves ties open)."""
    width = values_PB.shape[1]
    place_B = torch.arange(width, device=values_PB.device)
    largest_PB = values_PB == values_PB.amax(1, keepdim=True)
    return torch.where(largest_PB, place_B, width - 1).amin(1)
