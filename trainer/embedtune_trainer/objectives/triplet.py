"""The triplet loss over the triplets that a miner chooses of a batch of labelled embeddings."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from embedtune_api.base import ApiModel
from embedtune_trainer.objectives.blocks import row_blocks, sum_by_blocks
from embedtune_trainer.objectives.distances import DISTANCES
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.objectives.miners import TripletMarginMiner
from embedtune_trainer.objectives.positives import Positives


class TripletMarginLoss(ApiModel):
    """max(0, d(a,p) - d(a,n) + margin), averaged over the triplets that the miner chooses.

    pytorch-metric-learning's loss of that name, and sentence-transformers' BatchSemiHardTripletLoss
    for the semihard ones. Without a triplet - one class, no positives - it is 0, with a gradient of
    zeros. Zero vectors and duplicates: see distances; ties: see miners.
    """

    margin: Annotated[float, Field(gt=0, le=100)] = 0.2
    """how much farther the negative shall be, above 0 and up to 100 (default 0.2)"""
    distance: Literal["cosine", "euclidean"] = "cosine"
    """cosine (1 - cos) or euclidean (default cosine)"""
    soft: bool = False
    """true or false; ln(1 + exp(d(a,p) - d(a,n) + margin)) in place of the hinge (default false)"""


@dataclass(frozen=True)
class TripletObjective:
    """A triplet loss over the triplets that a miner chooses.

    Pairs of anchor and positive are taken a block at a time, each with the whole batch as
    negatives: the memory is O(block), the time O(pairs B).
    """

    loss: TripletMarginLoss
    miner: TripletMarginMiner

    def __call__(self, embeddings_BD: Tensor, labels_B: Tensor) -> BatchLoss:
        """The batch's loss.

        Args:
            embeddings_BD: float32 or float64.
            labels_B: integers on the CPU, since pairs are looked up in them.
        """
        device = embeddings_BD.device
        positives = Positives(labels_B)
        labels_B = labels_B.to(device, non_blocking=True)
        hard = self.miner.type_of_triplets == "hard"

        def part(begin: int, end: int, x_BD: Tensor) -> tuple[Tensor, Tensor]:
            positive_P = None
            if hard:
                anchor_P = torch.from_numpy(positives.anchor_A[begin:end])
            else:
                anchor_P, positive_P = positives.pairs(begin, end)
                positive_P = positive_P.to(device, non_blocking=True)
            first, last = int(anchor_P[0]), int(anchor_P[-1])
            anchor_P = anchor_P.to(device, non_blocking=True)
            distance_AB = DISTANCES[self.loss.distance].between(x_BD[first : last + 1], x_BD)
            far_PB = distance_AB[anchor_P - first]
            return self._sum(far_PB, anchor_P, positive_P, labels_B)

        blocks = row_blocks(
            len(positives.anchor_A) if hard else positives.count, len(labels_B), device
        )
        prepared_BD = DISTANCES[self.loss.distance].prepare(embeddings_BD)
        sum_1, count_1 = sum_by_blocks(part, blocks, 1, prepared_BD)
        return BatchLoss(sum_1[0] / count_1[0].clamp(min=1), count_1[0])

    def _sum(
        self, far_PB: Tensor, anchor_P: Tensor, positive_P: Tensor | None, labels_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The sum over these pairs' triplets, and how many they are, (1,) each."""
        other_PB = labels_B[anchor_P][:, None] != labels_B
        if positive_P is None:
            row_B = torch.arange(len(labels_B), device=labels_B.device)
            same_PB = ~other_PB & (anchor_P[:, None] != row_B)
            positive_P = self.miner.positives(far_PB.detach(), same_PB)
        near_P = far_PB.gather(1, positive_P[:, None])[:, 0]
        with torch.no_grad():
            chosen_PB = self.miner.negatives(near_P, far_PB, other_PB, self.loss.margin)
        violation_PB = near_P[:, None] - far_PB + self.loss.margin
        hinge_PB = (functional.softplus if self.loss.soft else functional.relu)(violation_PB)
        return torch.where(chosen_PB, hinge_PB, 0.0).sum()[None], chosen_PB.sum()[None]
