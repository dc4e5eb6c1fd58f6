"""Losses over pairs that rank each anchor's own positive among the batch's other items.

A batch has B anchors l_i, their positives r_i, and candidates c_j: the positives in their order,
then hard negatives, a column of B after the other. What the data as a whole says to belong to an
anchor, but for its own positive, is left out of its softmax, so that nothing is an anchor's
positive and negative at once; so are repeats of a row.

A zero vector has the cosine 0 with everything, and no gradient. A batch of one row has nothing
to rank: the loss is 0, with a gradient of zeros. Equal logits share the softmax evenly. The memory
is O(batch) beyond the embeddings and a block, see log_sums.
"""

from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from embedtune_api.base import ApiModel
from embedtune_trainer.objectives.distances import unit
from embedtune_trainer.objectives.log_sums import LeftOut, softmax_losses
from embedtune_trainer.objectives.loss import BatchLoss, count

LARGEST_SCALE: Final = 100.0
"""CLIP's bound of the learnable scale (Radford et al. 2021, section 2.5)."""


class MultipleNegativesRankingLoss(ApiModel):
    """Cross-entropy of each anchor's own positive among all candidates.

    -log exp(s cos(l_i, r_i)) / sum_j exp(s cos(l_i, c_j)), averaged over the batch (Henderson et
    al. 2017; sentence-transformers' loss of that name, where no candidate is left out). symmetric
    is its directions query_to_doc and doc_to_query with partition_mode per_direction.
    """

    scale: Annotated[float, Field(gt=0, le=1000)] = 20.0
    """what cosines are multiplied by, above 0 (default 20)"""
    symmetric: bool = False
    """true or false; also rank the anchors for each positive, and average (default false)"""

    def __call__(
        self, left_BD: Tensor, candidates_CD: Tensor, left_out: LeftOut | None = None
    ) -> BatchLoss:
        """The batch's loss.

        Args:
            left_BD: anchors, of any length.
            candidates_CD: positives in the anchors' order, then hard negatives; C >= B.
            left_out: candidates that belong to an anchor; its own positive counts all the same.
        """
        scale = left_BD.new_full((), self.scale)
        return _ranked(left_BD, candidates_CD, scale, left_out, symmetric=self.symmetric)


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
        self,
        left_BD: Tensor,
        right_BD: Tensor,
        log_scale: Tensor,
        left_out: LeftOut | None = None,
    ) -> BatchLoss:
        """The batch's loss.

        Args:
            left_BD: texts, of any length.
            right_BD: images, of any length.
            log_scale: scalar, the logarithm of what cosines are multiplied by; at most ln 100
                counts.
            left_out: images that belong to a text; its own counts all the same.
        """
        scale = log_scale.exp().clamp(max=LARGEST_SCALE)
        return _ranked(left_BD, right_BD, scale, left_out, symmetric=True)


def begin_temperature(temperature: float | None, log_scale: nn.Parameter, *, learn: bool) -> None:
    """Set a temperature, kept as the logarithm of its inverse; None leaves it as it is."""
    if temperature is not None:
        with torch.no_grad():
            log_scale.fill_(-torch.tensor(temperature).log())
    log_scale.requires_grad_(learn)


def _ranked(
    left_BD: Tensor,
    candidates_CD: Tensor,
    scale: Tensor,
    left_out: LeftOut | None,
    *,
    symmetric: bool,
) -> BatchLoss:
    units = unit(left_BD), unit(candidates_CD)
    row_B, column_B = softmax_losses(*units, scale, left_out, symmetric=symmetric)
    loss = (row_B.mean() + column_B.mean()) / 2 if symmetric else row_B.mean()
    return BatchLoss(loss, count(left_BD))
