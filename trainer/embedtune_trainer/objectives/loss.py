"""What every objective gives for a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchLoss:
    """The loss of one batch.

    Attributes:
        loss: scalar; 0, but with a gradient of zeros, when there is nothing to learn from.
        terms: scalar, how many triplets, pairs or rows it is the average of.
    """

    loss: Tensor
    terms: Tensor


def count(batch_BD: Tensor) -> Tensor:
    """B as a scalar on the batch's device."""
    return torch.full((), len(batch_BD), device=batch_BD.device)
