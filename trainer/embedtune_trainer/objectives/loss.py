"""What every objective gives for a batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class BatchLoss:
    """The loss of one batch.

    Attributes:
        loss: scalar; 0, but with a gradient of zeros, when there is nothing to learn from.
        terms: scalar, how many triplets or rows it is the average of.
    """

    loss: Tensor
    terms: Tensor
