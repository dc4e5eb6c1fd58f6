"""The trainer's own losses over the pairs or triplets that a miner of the library chooses."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedtune_trainer.objectives.distances import DISTANCES
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.objectives.metric_learning.adapter import Indices, classes_of, precise
from embedtune_trainer.objectives.triplet import TripletMarginLoss

if TYPE_CHECKING:
    from embedtune_trainer.objectives.labelled import ContrastiveLoss

Mined = Sequence[Tensor]
"""Row numbers: triplets' anchors, positives, negatives; or anchors, positives of the pairs of one
class, anchors, negatives of those of two."""


class MinedObjective(nn.Module):
    """A loss over what a miner chooses of a batch of labelled rows."""

    def __init__(
        self, over: Callable[[Tensor, Mined], BatchLoss], miner: nn.Module, labels_N: Indices
    ) -> None:
        """`over` takes the embeddings, (B, D), and what was mined; `labels_N` are all classes."""
        super().__init__()
        self.miner = miner
        self._over = over
        self._labels_N = labels_N

    def forward(self, embedded: Sequence[Tensor], batch: Indices) -> BatchLoss:
        """The batch's loss, in float32 at least.

        Args:
            embedded: (B, D), of the rows' items.
            batch: row numbers.
        """
        (x_BD,) = embedded
        labels_B = classes_of(self._labels_N, batch, x_BD)
        with torch.autocast(x_BD.device.type, enabled=False):
            x_BD = precise(x_BD)
            return self._over(x_BD, self.miner(x_BD, labels_B))


def triplet_loss(options: TripletMarginLoss, x_BD: Tensor, mined: Mined) -> BatchLoss:
    """The average over the triplets, whether they violate the margin or not.

    Of pairs these are each anchor's positives with each of its negatives.
    """
    anchor_T, positive_T, negative_T = _triplets(mined)
    distance = DISTANCES[options.distance]
    prepared_BD = distance.prepare(x_BD)
    distance_BB = distance.between(prepared_BD, prepared_BD)
    violation_T = distance_BB[anchor_T, positive_T] - distance_BB[anchor_T, negative_T]
    activation = functional.softplus if options.soft else functional.relu
    hinge_T = activation(violation_T + options.margin)
    terms = len(anchor_T)
    return BatchLoss(hinge_T.sum() / max(1, terms), torch.full((), terms, device=x_BD.device))


def contrastive_loss(options: "ContrastiveLoss", x_BD: Tensor, mined: Mined) -> BatchLoss:
    """The averages over the pairs of each kind that are above 0.

    Of triplets these are the pairs of anchor and positive, and of anchor and negative.
    """
    a_P, positive_P, b_N, negative_N = (
        mined if len(mined) == 4 else (*mined[:2], mined[0], mined[2])
    )
    unit_BD = DISTANCES["cosine"].prepare(x_BD)
    distance_BB = DISTANCES[options.distance].between(unit_BD, unit_BD)
    near_P = functional.relu(distance_BB[a_P, positive_P] - options.pos_margin)
    far_N = functional.relu(options.neg_margin - distance_BB[b_N, negative_N])
    sums_2 = torch.stack((near_P.sum(), far_N.sum()))
    counts_2 = torch.stack(((near_P > 0).sum(), (far_N > 0).sum()))
    return BatchLoss((sums_2 / counts_2.clamp(min=1)).sum(), counts_2.sum())


def _triplets(mined: Mined) -> tuple[Tensor, Tensor, Tensor]:
    if len(mined) == 3:
        return mined[0], mined[1], mined[2]
    anchor_P, positive_P, other_N, negative_N = mined
    of_P, of_N = torch.where(anchor_P[:, None] == other_N)
    return anchor_P[of_P], positive_P[of_P], negative_N[of_N]
