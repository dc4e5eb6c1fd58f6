"""Which triplets (anchor a, positive p, negative n) of a batch the loss is taken over.

With d the distance and m the loss's margin, a triplet's row a and p have one class, are different
rows, and n is of another class. typeOfTriplets chooses among all of them:

    all       d(a,n) - d(a,p) < m: each triplet that violates the margin.
    semihard  0 < d(a,n) - d(a,p) < m: of these, the negatives farther than the positive
              (Schroff et al. 2015, FaceNet).
    hard      for each anchor its farthest positive with its nearest negative, if they violate the
              margin (Hermans et al. 2017, batch-hard). Ties go to the earlier row.

all and semihard are those of pytorch-metric-learning's TripletMarginMiner (which counts a triplet
at exactly m, whose hinge is 0); its "hard", all triplets with d(a,n) <= d(a,p), is another thing.
sentence-transformers' BatchSemiHardTripletLoss differs from semihard here: it takes one negative
for each (a,p), the nearest that is farther than p or, if there is none, the farthest of all.
"""

from typing import Final, Literal

import torch
from torch import Tensor

from embedtune_api.base import ApiModel

Pairs = tuple[Tensor, Tensor]
"""Anchors and positives, (P,) row numbers each."""


class TripletMarginMiner(ApiModel):
    """Chooses triplets by how they violate the margin."""

    type_of_triplets: Literal["all", "semihard", "hard"] = "semihard"
    """all, semihard or hard (default semihard)"""

    def pairs(self, distance_BB: Tensor, labels_B: Tensor) -> Pairs:
        """The anchors with their positives, among which `negatives` then chooses.

        The labels are looked at on the CPU if they lie there, so that a GPU need not wait.
        """
        positive_BB = labels_B[:, None] == labels_B
        positive_BB.fill_diagonal_(fill_value=False)
        if self.type_of_triplets != "hard":
            anchor_P, positive_P = positive_BB.nonzero(as_tuple=True)
        else:
            (anchor_P,) = positive_BB.any(1).nonzero(as_tuple=True)
        device = distance_BB.device
        anchor_P = anchor_P.to(device, non_blocking=True)
        if self.type_of_triplets != "hard":
            return anchor_P, positive_P.to(device, non_blocking=True)
        positive_BB = positive_BB.to(device, non_blocking=True)
        masked_BB = distance_BB.detach().masked_fill(~positive_BB, float("-inf"))
        return anchor_P, _first_max(masked_BB[anchor_P])

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
        gap_PB = negative_PB - positive_P[:, None]
        chosen_PB = other_PB & (gap_PB < margin)
        if self.type_of_triplets == "semihard":
            return chosen_PB & (gap_PB > 0)
        if self.type_of_triplets == "hard":
            nearest_P = _first_max(-negative_PB.masked_fill(~other_PB, float("inf")))
            place_B = torch.arange(negative_PB.shape[1], device=negative_PB.device)
            return chosen_PB & (place_B == nearest_P[:, None])
        return chosen_PB


def _first_max(values_PB: Tensor) -> Tensor:
    """(P,): where each line's largest value first stands (argmax alone leaves ties open)."""
    width = values_PB.shape[1]
    place_B = torch.arange(width, device=values_PB.device)
    largest_PB = values_PB == values_PB.amax(1, keepdim=True)
    return torch.where(largest_PB, place_B, width - 1).amin(1)


MINERS: Final = {"TripletMarginMiner": TripletMarginMiner}
