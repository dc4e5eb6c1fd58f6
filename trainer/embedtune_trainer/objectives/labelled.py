"""Losses over a batch of embeddings and their classes, without a miner.

Each takes a block of rows with the whole batch at a time, so that the memory is O(block). A row is
no pair with itself. Duplicates of one class are a pair at the distance 0 (cosine 1), those of two
classes a negative pair there. A batch of one class, or one where no two rows have the same, has
nothing to compare: see each loss.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from embedtune_api.base import ApiModel
from embedtune_trainer.objectives.blocks import row_blocks, sum_by_blocks
from embedtune_trainer.objectives.distances import cosine, euclidean, unit
from embedtune_trainer.objectives.log_sums import diagonal, log_sums
from embedtune_trainer.objectives.loss import BatchLoss


class ContrastiveLoss(ApiModel):
    """Pairs of one class nearer than a margin, those of two classes farther than another.

    The mean of the max(0, d - posMargin) of one class that are above 0, and the mean of the max(0,
    negMargin - d) of two classes that are (Hadsell et al. 2006, without its squares), as pytorch-
    metric-learning has it. One class gives the first mean alone, no positives the second alone. A
    zero vector has the distance 1 to all others (none to another one, if euclidean). What is above
    0 by rounding alone, as the cosine of duplicates may be, is not.
    """

    pos_margin: Annotated[float, Field(ge=0, le=2)] = 0.0
    """how far apart rows of one class may be, 0 to 2 (default 0)"""
    neg_margin: Annotated[float, Field(gt=0, le=2)] = 1.0
    """how far apart rows of two classes shall be, above 0 to 2 (default 1)"""
    distance: Literal["euclidean", "cosine"] = "euclidean"
    """of the directions: euclidean, or cosine (1 - cos) (default euclidean)"""

    def __call__(self, embeddings_BD: Tensor, labels_B: Tensor) -> BatchLoss:
        """The batch's loss; its terms are the pairs that are above 0, in both orders.

        Args:
            embeddings_BD: of any length.
            labels_B: integers.
        """
        device = embeddings_BD.device
        labels_B = labels_B.to(device, non_blocking=True)
        least = 8 * torch.finfo(embeddings_BD.dtype).eps
        between = euclidean if self.distance == "euclidean" else cosine

        def part(begin: int, end: int, x_BD: Tensor) -> tuple[Tensor, Tensor]:
            distance_RB = between(x_BD[begin:end], x_BD)
            same_RB = labels_B[begin:end, None] == labels_B
            positive_RB = same_RB.clone()
            positive_RB.diagonal(begin).fill_(False)
            near_RB, far_RB = distance_RB - self.pos_margin, self.neg_margin - distance_RB
            near_RB = near_RB.where(positive_RB & (near_RB > least), 0.0)
            far_RB = far_RB.where(~same_RB & (far_RB > least), 0.0)
            sums_2 = torch.stack((near_RB.sum(), far_RB.sum()))
            return sums_2, torch.stack(((near_RB > 0).sum(), (far_RB > 0).sum()))

        blocks = row_blocks(len(labels_B), len(labels_B), device)
        sums_2, counts_2 = sum_by_blocks(part, blocks, 2, unit(embeddings_BD))
        return BatchLoss((sums_2 / counts_2.clamp(min=1)).sum(), counts_2.sum())


class NTXentLoss(ApiModel):
    """Each pair of one class against the anchor's negatives (Chen et al. 2020, SimCLR).

    -ln e(a,p) / (e(a,p) + sum_n e(a,n)), e being exp(cos / temperature), n what is of another class
    than a: averaged over all (a,p), as pytorch-metric-learning has it. One class, or no positives:
    0, with a gradient of zeros. A zero vector has the cosine 0 with everything, and no gradient.
    """

    temperature: Annotated[float, Field(ge=0.001, le=10)] = 0.07
    """what cosines are divided by, 0.001 to 10 (default 0.07)"""

    def __call__(self, embeddings_BD: Tensor, labels_B: Tensor) -> BatchLoss:
        """The batch's loss; its terms are the (a,p) whose anchor has a negative.

        Args:
            embeddings_BD: of any length.
            labels_B: integers.
        """
        device = embeddings_BD.device
        labels_B = labels_B.to(device, non_blocking=True)

        def part(begin: int, end: int, x_BD: Tensor) -> tuple[Tensor, Tensor]:
            logits_RB = x_BD[begin:end] @ x_BD.T / self.temperature
            same_RB = labels_B[begin:end, None] == labels_B
            negatives_R = logits_RB.masked_fill(same_RB, float("-inf")).logsumexp(1)
            positive_RB = same_RB & ~same_RB.all(1, keepdim=True)
            positive_RB.diagonal(begin).fill_(False)
            # ln(1 + e^x) without torch's short cut, which is 2e-9 off where x is above 20.
            term_RB = functional.softplus(negatives_R[:, None] - logits_RB, threshold=40)
            return term_RB.where(positive_RB, 0.0).sum()[None], positive_RB.sum()[None]

        blocks = row_blocks(len(labels_B), len(labels_B), device)
        sum_1, count_1 = sum_by_blocks(part, blocks, 1, unit(embeddings_BD))
        return BatchLoss(sum_1[0] / count_1[0].clamp(min=1), count_1[0])


class SupConLoss(ApiModel):
    """Each row's positives against all other rows (Khosla et al. 2020, its L_out).

    ln sum_{j != i} e(i,j) - mean_p cos(i,p) / temperature, e being exp(cos / temperature), averaged
    over the rows that have a positive, as pytorch-metric-learning has it. One class, or no
    positives: 0, with a gradient of zeros. A zero vector has the cosine 0 with everything, and no
    gradient.
    """

    temperature: Annotated[float, Field(ge=0.001, le=10)] = 0.1
    """what cosines are divided by, 0.001 to 10 (default 0.1)"""

    def __call__(self, embeddings_BD: Tensor, labels_B: Tensor) -> BatchLoss:
        """The batch's loss; its terms are the rows that have a positive.

        Args:
            embeddings_BD: of any length.
            labels_B: integers, best on the CPU, since they are counted.
        """
        x_BD = unit(embeddings_BD)
        scale = x_BD.new_full((), 1 / self.temperature)
        _, class_B, size_C = torch.unique(labels_B, return_inverse=True, return_counts=True)
        counted = len(size_C) > 1
        class_B, size_C = (x.to(x_BD.device, non_blocking=True) for x in (class_B, size_C))
        others_B = size_C[class_B] - 1
        # The sum over a row's positives is that over its class, less itself.
        class_CD = x_BD.new_zeros(len(size_C), x_BD.shape[1]).index_add(0, class_B, x_BD)
        mean_B = (x_BD * (class_CD[class_B] - x_BD)).sum(1) * scale / others_B.clamp(min=1)
        all_B = log_sums(x_BD, x_BD, scale, diagonal(x_BD.device))
        anchor_B = (others_B > 0) & counted
        total = (all_B - mean_B).where(anchor_B, 0.0).sum()
        return BatchLoss(total / anchor_B.sum().clamp(min=1), anchor_B.sum())
