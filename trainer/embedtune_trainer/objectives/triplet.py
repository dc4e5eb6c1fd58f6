"""Losses over a batch of embeddings and their classes."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from embedtune_api.base import ApiModel
from embedtune_trainer.objectives.distances import DISTANCES
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.objectives.miners import TripletMarginMiner

DENSE_LIMIT = 2**24
"""Pairs times rows (P * B) that are held at a time; more is cut up and computed again backwards."""


class TripletMarginLoss(ApiModel):
    """max(0, d(a,p) - d(a,n) + margin), averaged over the triplets that the miner chooses."""

    margin: Annotated[float, Field(gt=0, le=100)] = 0.2
    """how much farther the negative shall be, above 0 and up to 100 (default 0.2)"""
    distance: Literal["cosine", "euclidean"] = "cosine"
    """cosine (1 - cos) or euclidean (default cosine)"""
    soft: bool = False
    """true or false; ln(1 + exp(d(a,p) - d(a,n) + margin)) in place of the hinge (default false)"""


@dataclass(frozen=True)
class TripletObjective:
    """A triplet loss over the triplets that a miner chooses."""

    loss: TripletMarginLoss
    miner: TripletMarginMiner

    def __call__(self, embeddings_BD: Tensor, labels_B: Tensor) -> BatchLoss:
        """The batch's loss.

        Args:
            embeddings_BD: float32 or float64.
            labels_B: integers, best on the CPU, since pairs are looked up in them.
        """
        distance_BB = DISTANCES[self.loss.distance](embeddings_BD)
        anchor_P, positive_P = self.miner.pairs(distance_BB, labels_B)
        labels_B = labels_B.to(distance_BB.device, non_blocking=True)
        rows = max(1, DENSE_LIMIT // len(labels_B))
        chunks = zip(torch.split(anchor_P, rows), torch.split(positive_P, rows), strict=True)
        if len(anchor_P) <= rows:
            parts = [self._sum(distance_BB, labels_B, *chunk) for chunk in chunks]
        else:
            parts = [
                checkpoint(self._sum, distance_BB, labels_B, *chunk, use_reentrant=False)
                for chunk in chunks
            ]
        total = torch.stack([part[0] for part in parts]).sum()
        triplets = torch.stack([part[1] for part in parts]).sum()
        return BatchLoss(total / triplets.clamp(min=1), triplets)

    def _sum(
        self, distance_BB: Tensor, labels_B: Tensor, anchor_P: Tensor, positive_P: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The sum over these pairs' triplets, and how many they are."""
        near_P = distance_BB[anchor_P, positive_P]
        far_PB = distance_BB[anchor_P]
        other_PB = labels_B[anchor_P][:, None] != labels_B
        with torch.no_grad():
            chosen_PB = self.miner.negatives(near_P, far_PB, other_PB, self.loss.margin)
        violation_PB = near_P[:, None] - far_PB + self.loss.margin
        hinge_PB = (functional.softplus if self.loss.soft else functional.relu)(violation_PB)
        return torch.where(chosen_PB, hinge_PB, 0.0).sum(), chosen_PB.sum()
