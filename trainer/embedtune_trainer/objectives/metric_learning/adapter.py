"""A loss of the library as a module that is called with a batch's embeddings and row numbers."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from embedtune_trainer.objectives.distances import DISTANCES
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.objectives.triplet import TripletMarginLoss

Indices = NDArray[np.int64]


class LabelledObjective(nn.Module):
    """A loss over the classes of a batch's rows, of what a miner chooses if there is one.

    Its parameters are the library's: weights of classes, or MarginLoss's beta. Without a miner the
    loss is taken over all pairs, triplets or rows. Where a miner finds nothing the loss is 0 with a
    gradient of zeros; the library's classification losses would take all rows instead.
    """

    def __init__(self, loss: nn.Module, miner: nn.Module | None, labels_N: Indices) -> None:
        """`labels_N` are the classes of all rows, 0 to C - 1."""
        super().__init__()
        self.loss = loss
        self.miner = miner
        self._labels_N = labels_N

    def forward(self, embedded: Sequence[Tensor], batch: Indices) -> BatchLoss:
        """The batch's loss, in float32 at least; its terms are the rows, or what was mined.

        Args:
            embedded: (B, D), of the rows' items.
            batch: row numbers.
        """
        (x_BD,) = embedded
        labels_B = torch.from_numpy(self._labels_N[batch]).to(x_BD.device, non_blocking=True)
        with torch.autocast(x_BD.device.type, enabled=False):
            x_BD = _precise(x_BD)
            mined = None if self.miner is None else self.miner(x_BD, labels_B)
            terms = len(batch) if mined is None else count(mined)
            value = (x_BD * 0).sum() if terms == 0 else self.loss(x_BD, labels_B, mined)
        return BatchLoss(value.reshape(()), torch.full((), terms, device=x_BD.device))


class PairObjective(nn.Module):
    """A loss over both items of a batch's rows, without labels."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embedded: Sequence[Tensor], batch: Indices) -> BatchLoss:
        """The batch's loss, in float32 at least.

        Args:
            embedded: (B, D), of the left items and of the right ones.
            batch: row numbers.
        """
        left_BD, right_BD = embedded
        with torch.autocast(left_BD.device.type, enabled=False):
            value = self.loss(_precise(left_BD), ref_emb=_precise(right_BD))
        return BatchLoss(value.reshape(()), torch.full((), len(batch), device=left_BD.device))


class MinedTriplets(nn.Module):
    """The trainer's own triplet loss, averaged over the triplets that a miner of the library gives.

    Of a miner of pairs these are each anchor's positives with each of its negatives.
    """

    def __init__(self, options: TripletMarginLoss, miner: nn.Module, labels_N: Indices) -> None:
        """`labels_N` are the classes of all rows."""
        super().__init__()
        self.miner = miner
        self._options = options
        self._labels_N = labels_N

    def forward(self, embedded: Sequence[Tensor], batch: Indices) -> BatchLoss:
        """The batch's loss; its terms are the triplets.

        Args:
            embedded: (B, D), of the rows' items.
            batch: row numbers.
        """
        (x_BD,) = embedded
        labels_B = torch.from_numpy(self._labels_N[batch]).to(x_BD.device, non_blocking=True)
        with torch.autocast(x_BD.device.type, enabled=False):
            x_BD = _precise(x_BD)
            anchor_T, positive_T, negative_T = _triplets(self.miner(x_BD, labels_B))
            distance = DISTANCES[self._options.distance]
            prepared_BD = distance.prepare(x_BD)
            distance_BB = distance.between(prepared_BD, prepared_BD)
            near_T, far_T = distance_BB[anchor_T, positive_T], distance_BB[anchor_T, negative_T]
            violation_T = near_T - far_T + self._options.margin
            hinge_T = (functional.softplus if self._options.soft else functional.relu)(violation_T)
            terms = len(anchor_T)
        return BatchLoss(hinge_T.sum() / max(1, terms), torch.full((), terms, device=x_BD.device))


def _triplets(mined: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    if len(mined) == 3:
        return mined[0], mined[1], mined[2]
    anchor_P, positive_P, other_N, negative_N = mined
    of_P, of_N = torch.where(anchor_P[:, None] == other_N)
    return anchor_P[of_P], positive_P[of_P], negative_N[of_N]


def count(mined: Sequence[Tensor]) -> int:
    """Triplets, or pairs of both kinds, that a miner gave."""
    return len(mined[0]) + (len(mined[2]) if len(mined) == 4 else 0)


def _precise(x_BD: Tensor) -> Tensor:
    return x_BD if x_BD.dtype == torch.float64 else x_BD.float()
