"""SigLIP's loss: each text with each image is one yes or no."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from embedtune_api.base import ApiModel
from embedtune_trainer.objectives.blocks import row_blocks, sum_by_blocks
from embedtune_trainer.objectives.distances import unit
from embedtune_trainer.objectives.log_sums import LeftOut, leave_out
from embedtune_trainer.objectives.loss import BatchLoss, count


class SigLIPLoss(ApiModel):
    """-1/B sum_ij ln sigmoid(z_ij (s cos(l_i, r_j) + b)); z is 1 where i = j, else -1.

    s and b are learnt (Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training). Without
    rows that share an item, it is open_clip's SigLipLoss and the loss of transformers' SiglipModel.
    Pairs that are known to belong together, but for a row's own, are left out. A zero vector has
    the cosine 0 with everything, and no gradient.
    """

    temperature: Annotated[float, Field(ge=0.001, le=10)] | None = None
    """0.001 to 10; what cosines are divided by at first (default: the checkpoint's, or 0.1)"""
    bias: Annotated[float, Field(ge=-100, le=100)] | None = None
    """-100 to 100; what is added to them at first (default: the checkpoint's, or -10)"""
    learnable: bool = True
    """true or false; whether temperature and bias are learnt (default true)"""

    def __call__(
        self,
        left_BD: Tensor,
        right_BD: Tensor,
        log_scale: Tensor,
        bias: Tensor,
        left_out: LeftOut | None = None,
    ) -> BatchLoss:
        """The batch's loss.

        Args:
            left_BD: texts, of any length.
            right_BD: images, of any length.
            log_scale: scalar, ln s.
            bias: scalar b.
            left_out: images that belong to a text; its own counts all the same.
        """

        def part(
            begin: int, end: int, left_BD: Tensor, right_BD: Tensor, scale: Tensor, bias: Tensor
        ) -> tuple[Tensor, Tensor]:
            logits_RB = left_BD[begin:end] @ right_BD.T * scale + bias
            own_R = logits_RB.diagonal(begin).clone()
            if left_out is not None:
                leave_out(logits_RB, *left_out(begin, end))
            logits_RB.diagonal(begin).fill_(float("-inf"))
            total = functional.logsigmoid(-logits_RB).sum() + functional.logsigmoid(own_R).sum()
            return -total[None], torch.zeros(1, dtype=torch.int64, device=total.device)

        blocks = row_blocks(len(left_BD), len(right_BD), left_BD.device)
        tensors = (unit(left_BD), unit(right_BD), log_scale.exp(), bias)
        sum_1, _ = sum_by_blocks(part, blocks, 1, *tensors)
        return BatchLoss(sum_1[0] / len(left_BD), count(left_BD))
