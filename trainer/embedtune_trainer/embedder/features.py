"""What a backbone gives, before it is pooled."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

FeatureKind = Literal["text", "tokens", "places", "vector"]
"""A text's tokens, an image's tokens, an image's places (rank 4), or one vector."""


class Stop(nn.Identity):
    """Stands where a network is left, in the place of its head; no part of the backbone."""


@dataclass(frozen=True)
class Feature:
    """The backbone's output for a batch.

    Attributes:
        values: (B, T, H) of tokens, (B, H, Y, X) of an image's places, or (B, H), pooled already.
        mask_BT: 1 where a token counts, 0 where it does not; None where all of them do.
        prefix: leading tokens that are none of an image's places (class and register tokens).
    """

    values: Tensor
    mask_BT: Tensor | None = None
    prefix: int = 0


class Backbone(nn.Module):
    """A pre-trained network without its head.

    Attributes:
        network: the network itself; module paths of a spec (cut, freeze, lora) are in it.
        feature_dim: H.
    """

    def __init__(self, network: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.network = network
        self.feature_dim = feature_dim

    def forward(self, inputs: Any) -> Feature:  # noqa: ANN401  what its processor gives
        """Inputs to Feature."""
        raise NotImplementedError
