"""A loss of the library as a module that is called with a batch's embeddings and row numbers."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedtune_trainer.objectives.loss import BatchLoss

Indices = NDArray[np.int64]


def classes_of(labels_N: Indices, batch: Indices, like: Tensor) -> Tensor:
    """(B,) the classes of a batch's rows, on the device of `like`."""
    return torch.from_numpy(labels_N[batch]).to(like.device, non_blocking=True)


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
        labels_B = classes_of(self._labels_N, batch, x_BD)
        with torch.autocast(x_BD.device.type, enabled=False):
            x_BD = precise(x_BD)
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
            value = self.loss(precise(left_BD), ref_emb=precise(right_BD))
        return BatchLoss(value.reshape(()), torch.full((), len(batch), device=left_BD.device))


def count(mined: Sequence[Tensor]) -> int:
    """Triplets, or pairs of both kinds, that a miner gave."""
    return len(mined[0]) + (len(mined[2]) if len(mined) == 4 else 0)


def precise(x_BD: Tensor) -> Tensor:
    """In float32 at least."""
    return x_BD if x_BD.dtype == torch.float64 else x_BD.float()
