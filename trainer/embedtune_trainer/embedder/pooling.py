"""From the vectors of a text's tokens to one vector.

The formulas are those of sentence-transformers' Pooling. Padding may stand on either side and
never counts.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from embedtune_trainer.embedder.features import Feature


def mean(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, H): the average over a text's tokens."""
    weight_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
    return (hidden_BTH * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1e-9)


def mean_sqrt_len(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, H): the sum over a text's tokens divided by the root of their number."""
    weight_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
    return (hidden_BTH * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1e-9).sqrt()


def weighted_mean(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, H): the average with weights 1, 2, 3, ... along the text (Muennighoff 2022, SGPT)."""
    weight_BT1 = (mask_BT.cumsum(1) * mask_BT).unsqueeze(-1).to(hidden_BTH.dtype)
    return (hidden_BTH * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1e-9)


def cls(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, H): the first token's vector."""
    return _at(hidden_BTH, mask_BT.int().argmax(1))


def last(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, H): the last token's vector."""
    return _at(hidden_BTH, mask_BT.shape[1] - 1 - mask_BT.int().flip(1).argmax(1))


def largest(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, H): the largest value of each dimension."""
    return hidden_BTH.masked_fill(mask_BT.unsqueeze(-1) == 0, float("-inf")).amax(1)


def _at(hidden_BTH: Tensor, place_B: Tensor) -> Tensor:
    return hidden_BTH[torch.arange(len(hidden_BTH), device=hidden_BTH.device), place_B]


POOLINGS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "cls": cls,
    "max": largest,
    "mean": mean,
    "mean_sqrt_len_tokens": mean_sqrt_len,
    "weightedmean": weighted_mean,
    "lasttoken": last,
}
"""By sentence-transformers' names, in the order in which it puts several side by side."""


class Pooling(nn.Module):
    """One or several poolings, side by side.

    Args:
        modes: keys of POOLINGS.
    """

    def __init__(self, modes: tuple[str, ...]) -> None:
        super().__init__()
        self.modes = modes

    def forward(self, feature: Feature) -> Tensor:
        """(B, len(modes) * H) float32; every text has at least one token."""
        hidden_BTH = feature.values.float()
        mask_BT = feature.mask_BT
        if mask_BT is None:
            mask_BT = hidden_BTH.new_ones(hidden_BTH.shape[:2])
        return torch.cat([POOLINGS[mode](hidden_BTH, mask_BT) for mode in self.modes], dim=-1)
