"""From the vectors of a text's tokens, or of an image's places, to one vector.

The formulas are those of sentence-transformers' Pooling, and GeM's. Padding may stand on either
side and never counts; nor do class and register tokens, except for `cls`.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.features import Feature, FeatureKind
from embedtune_trainer.embedder.gem import Gem, GemOptions
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives.options import read_options


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

GEM: Final = "gem"
"""The pooling with options, which sentence-transformers does not have."""
NAMES: Final = {"last": "lasttoken", "weightedMean": "weightedmean"}
"""The spec's names of poolings where they are others."""
FITTING: Final[dict[FeatureKind, tuple[str, ...]]] = {
    "text": ("mean", "cls", "max", "last", "weightedMean", "gem"),
    "tokens": ("mean", "cls", "max", "gem"),
    "places": ("mean", "max", "gem"),
    "vector": ("none",),
}
"""The spec's poolings that make sense for a feature."""
_WHAT: Final[dict[FeatureKind, str]] = {
    "text": "the tokens of a text",
    "tokens": "the tokens of an image",
    "places": "the places of an image",
    "vector": "a feature that is one vector already",
}


class Pooling(nn.Module):
    """One or several poolings, side by side; a feature that is one vector passes as it is.

    Args:
        modes: keys of POOLINGS, or GEM alone; empty for a feature that is one vector.
        gem: GeM's options.
    """

    def __init__(self, modes: tuple[str, ...], gem: GemOptions | None = None) -> None:
        super().__init__()
        self.modes = modes
        self.gem = Gem(gem or GemOptions()) if GEM in modes else None

    def forward(self, feature: Feature) -> Tensor:
        """(B, max(len(modes), 1) * H) float32; every text has at least one token."""
        hidden_BTH = feature.values.float()
        if hidden_BTH.ndim == 2:
            return hidden_BTH
        if hidden_BTH.ndim == 4:
            hidden_BTH = hidden_BTH.flatten(2).transpose(1, 2)
        mask_BT = feature.mask_BT
        if mask_BT is None:
            mask_BT = hidden_BTH.new_ones(hidden_BTH.shape[:2])
        pooled = [self._pool(mode, hidden_BTH, mask_BT, feature.prefix) for mode in self.modes]
        return torch.cat(pooled, dim=-1)

    def gem_options(self) -> GemOptions:
        """GeM's options as they are now, p as it was learnt."""
        if self.gem is None:
            return GemOptions()
        return self.gem.options.model_copy(update={"p": self.gem.p.item()})

    def _pool(self, mode: str, hidden_BTH: Tensor, mask_BT: Tensor, prefix: int) -> Tensor:
        if mode != "cls":
            hidden_BTH, mask_BT = hidden_BTH[:, prefix:], mask_BT[:, prefix:]
        pooled_BH: Tensor = (
            self.gem(hidden_BTH, mask_BT) if self.gem else POOLINGS[mode](hidden_BTH, mask_BT)
        )
        return pooled_BH


def spec_names(pooling: Pooling) -> list[str]:
    """The spec's names of its modes; sentence-transformers' where the spec has none."""
    named = {theirs: ours for ours, theirs in NAMES.items()}
    return [named.get(mode, mode) for mode in pooling.modes]


def choose_pooling(
    encoder: Encoder, kind: FeatureKind, own: Pooling, *, class_token: bool = True
) -> Pooling:
    """The pooling that the spec asks for, or else the backbone's own.

    Args:
        encoder: what the spec says.
        kind: of the feature.
        own: what `auto` means.
        class_token: whether the first of the tokens stands for all of them.

    Raises:
        BadSpec: a pooling that makes no sense for this feature, or a wrong option.
    """
    field, name = "spec.model.pooling", encoder.pooling
    if encoder.pooling_options and name != GEM:
        given = ", ".join(encoder.pooling_options)
        raise BadSpec(f"{field}Options: {name} takes no options (got {given}); gem does")
    if name == "auto":
        return own
    fitting = [n for n in FITTING[kind] if n != "cls" or class_token]
    if name not in fitting:
        raise BadSpec(f"{field}: {name} is not for {_WHAT[kind]}; use auto, {', '.join(fitting)}")
    if name == "none":
        return Pooling(())
    gem = read_options(GemOptions, encoder.pooling_options, f"{field}Options")
    return Pooling((NAMES.get(name, name),), gem)
