"""Losses over pairs with scores: a person's, or those of a teacher that is distilled.

The scores of a pair are how alike its items are; so a larger model's, a cross-encoder's say, turn
CosineSimilarityLoss and CoSENTLoss into distillation. MarginMSELoss learns how much more alike the
anchor is to its positive than to its negative.

A zero vector has the cosine 0 with everything, and no gradient.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from embedtune_api.base import ApiModel
from embedtune_trainer.objectives.distances import unit
from embedtune_trainer.objectives.loss import BatchLoss, count


class CosineSimilarityLoss(ApiModel):
    """The mean of (cos(l_i, r_i) - score_i)^2, as sentence-transformers has it."""

    def __call__(self, left_BD: Tensor, right_BD: Tensor, scores_B: Tensor) -> BatchLoss:
        """The batch's loss; scores from 0 to 1."""
        error_B = _cosine(left_BD, right_BD) - scores_B
        return BatchLoss(error_B.square().mean(), count(left_BD))


class CoSENTLoss(ApiModel):
    """Pairs shall be in the order of their scores, by how much does not matter.

    ln(1 + sum exp(s (cos_i - cos_j))) over the i, j with score_i < score_j (Huang et al. 2024,
    CoSENT; sentence-transformers' loss of that name). Pairs of equal scores have no order: where
    all are equal, the loss is 0, with a gradient of zeros.

    The inner sum over i is a running one in the scores' order, so that time and memory are those of
    sorting, not O(B^2).
    """

    scale: Annotated[float, Field(gt=0, le=1000)] = 20.0
    """what cosines are multiplied by, above 0 (default 20)"""

    def __call__(self, left_BD: Tensor, right_BD: Tensor, scores_B: Tensor) -> BatchLoss:
        """The batch's loss; its terms are the i, j that have an order.

        Args:
            left_BD: of any length.
            right_BD: of any length.
            scores_B: any numbers.
        """
        scores_B, order_B = scores_B.sort(stable=True)
        logits_B = self.scale * _cosine(left_BD, right_BD)[order_B]
        below_B = torch.searchsorted(scores_B, scores_B)  # how many have a lower score
        upto_B = torch.cat((logits_B.new_full((1,), float("-inf")), logits_B.logcumsumexp(0)))
        # ln(sum of e^upto e^-logit), without the rows that have none below them.
        total_B = torch.where(below_B > 0, upto_B[below_B] - logits_B, float("-inf"))
        loss = torch.logsumexp(torch.cat((logits_B.new_zeros(1), total_B)), 0)
        return BatchLoss(loss, below_B.sum())


class MarginMSELoss(ApiModel):
    """The mean of (s l_i . r_i - s l_i . n_i - margin_i)^2 (Hofstaetter et al. 2020).

    margin is what the teacher's scores of positive and negative differ by. It is sentence-
    transformers' loss of that name with one negative, whose likeness is the dot product, too; s is
    what it is multiplied by, since that of embeddings of length 1 is 1 at most, and a teacher's
    margins may be larger. A negative that is the positive has the difference 0 and no gradient.
    """

    scale: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """what dot products are multiplied by, above 0 (default 1)"""

    def __call__(
        self, left_BD: Tensor, right_BD: Tensor, negative_BD: Tensor, margin_B: Tensor
    ) -> BatchLoss:
        """The batch's loss; margins are any numbers."""
        difference_B = self.scale * (left_BD * (right_BD - negative_BD)).sum(-1)
        return BatchLoss((difference_B - margin_B).square().mean(), count(left_BD))


def _cosine(left_BD: Tensor, right_BD: Tensor) -> Tensor:
    return (unit(left_BD) * unit(right_BD)).sum(-1)
