"""Losses over pairs: rankings among the batch's other items, and regression of scores.

A batch has B anchors l_i, their positives r_i, and candidates c_j: the positives in their order,
then hard negatives, a column of B after the other. known_BC says which candidates belong to which
anchor by the data as a whole; but for the row's own positive these are left out of the softmax, so
that nothing is an anchor's positive and negative at once.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from embedtune_api.base import ApiModel
from embedtune_trainer.objectives.loss import BatchLoss

LARGEST_SCALE = 100.0
"""CLIP's bound of the learnable scale (Radford et al. 2021, section 2.5)."""


class MultipleNegativesRankingLoss(ApiModel):
    """Cross-entropy of each anchor's own positive among all candidates.

    -log exp(s cos(l_i, r_i)) / sum_j exp(s cos(l_i, c_j)), averaged over the batch (Henderson et
    al. 2017; sentence-transformers' loss of that name, where no candidate is left out).
    """

    scale: Annotated[float, Field(gt=0, le=1000)] = 20.0
    """what cosines are multiplied by, above 0 (default 20)"""
    symmetric: bool = False
    """true or false; also rank the anchors for each positive, and average (default false)"""

    def __call__(self, left_BD: Tensor, candidates_CD: Tensor, known_BC: Tensor) -> BatchLoss:
        """The batch's loss.

        Args:
            left_BD: anchors, of any length.
            candidates_CD: positives in the anchors' order, then hard negatives; C >= B.
            known_BC: bool, whether a candidate belongs to an anchor; its diagonal does not matter.
        """
        logits_BC = self.scale * cosines(left_BD, candidates_CD)
        return ranking_loss(logits_BC, known_BC, symmetric=self.symmetric)


class CLIPLoss(ApiModel):
    """Both directions' cross-entropy, with a temperature that is learnt (Radford et al. 2021).

    The mean of text-to-image and image-to-text; without rows that share an item, it is open_clip's
    ClipLoss and transformers' contrastive loss of CLIPModel.
    """

    temperature: Annotated[float, Field(ge=0.01, le=10)] | None = None
    """0.01 to 10; what cosines are divided by at the start (default: the checkpoint's, or 0.07)"""
    learnable: bool = True
    """true or false; whether the temperature is learnt (default true)"""

    def __call__(
        self, left_BD: Tensor, right_BD: Tensor, known_BB: Tensor, log_scale: Tensor
    ) -> BatchLoss:
        """The batch's loss.

        Args:
            left_BD: texts, of any length.
            right_BD: images, of any length.
            known_BB: bool, whether a text belongs to an image; its diagonal does not matter.
            log_scale: scalar, the logarithm of what cosines are multiplied by; at most ln 100
                counts.
        """
        scale = log_scale.exp().clamp(max=LARGEST_SCALE)
        return ranking_loss(scale * cosines(left_BD, right_BD), known_BB, symmetric=True)


def begin_temperature(options: CLIPLoss, log_scale: nn.Parameter) -> None:
    """Set a pair's temperature, kept as the logarithm of its inverse, as the options say."""
    if options.temperature is not None:
        with torch.no_grad():
            log_scale.fill_(-torch.tensor(options.temperature).log())
    log_scale.requires_grad_(options.learnable)


class CosineSimilarityLoss(ApiModel):
    """The mean of (cos(l_i, r_i) - score_i)^2, as sentence-transformers has it."""

    def __call__(self, left_BD: Tensor, right_BD: Tensor, scores_B: Tensor) -> BatchLoss:
        """The batch's loss; scores from 0 to 1."""
        error_B = functional.cosine_similarity(left_BD, right_BD, dim=-1, eps=1e-12) - scores_B
        return BatchLoss(error_B.square().mean(), _count(left_BD))


def cosines(left_BD: Tensor, right_CD: Tensor) -> Tensor:
    """(B, C); a zero vector has the cosine 0 with everything."""
    return functional.normalize(left_BD, dim=-1) @ functional.normalize(right_CD, dim=-1).T


def ranking_loss(logits_BC: Tensor, known_BC: Tensor, *, symmetric: bool) -> BatchLoss:
    """Cross-entropy of the diagonal, other known candidates left out.

    Args:
        logits_BC: C >= B; the own candidate of row i is i.
        known_BC: bool.
        symmetric: whether to average with the loss of the first B columns' softmax over rows.
    """
    rows = len(logits_BC)
    target_B = torch.arange(rows, device=logits_BC.device)
    left_out_BC = known_BC.clone()
    left_out_BC[target_B, target_B] = False
    logits_BC = logits_BC.masked_fill(left_out_BC, float("-inf"))
    loss = functional.cross_entropy(logits_BC, target_B)
    if symmetric:
        loss = (loss + functional.cross_entropy(logits_BC[:, :rows].T, target_B)) / 2
    return BatchLoss(loss, _count(logits_BC))


def _count(batch_B: Tensor) -> Tensor:
    return torch.full((), len(batch_B), device=batch_B.device)
