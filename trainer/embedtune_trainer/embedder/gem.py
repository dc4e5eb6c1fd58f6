"""Generalised mean pooling (Radenovic, Tolias and Chum 2018)."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from embedtune_api.base import ApiModel


class GemOptions(ApiModel):
    """Options of the pooling gem."""

    p: Annotated[float, Field(gt=0, le=100)] = 3.0
    """The power: 1 is the mean of what is above 0, larger ones come near the maximum. Default 3."""
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-6
    """Smaller values, and all below 0, count as this one. Default 1e-6."""
    learnable: bool = False
    """Whether p is trained, too. Default false."""


class Gem(nn.Module):
    """(mean of max(x, eps)^p)^(1/p) over the tokens, in each dimension.

    It is computed on values divided by their largest, so that a large p overflows nowhere.
    """

    def __init__(self, options: GemOptions) -> None:
        super().__init__()
        self.options = options
        self.p = nn.Parameter(torch.tensor([options.p]), requires_grad=options.learnable)

    def forward(self, hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, T, H) and 1 where a token counts, to (B, H)."""
        weight_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
        clamped_BTH = hidden_BTH.clamp(min=self.options.eps)
        clamped_BTH = clamped_BTH.masked_fill(weight_BT1 == 0, self.options.eps)
        largest_B1H = clamped_BTH.detach().amax(1, keepdim=True)
        power_BTH = (clamped_BTH / largest_B1H).pow(self.p) * weight_BT1
        mean_BH = power_BTH.sum(1) / weight_BT1.sum(1).clamp(min=1e-9)
        pooled_BH: Tensor = mean_BH.pow(1 / self.p) * largest_B1H.squeeze(1)
        return pooled_BH
