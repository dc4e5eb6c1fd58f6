"""CLIP and its kin in transformers: how the two halves of each make an embedding."""

from dataclasses import dataclass
from typing import Final, Literal

TextFeature = Literal["lasttoken", "cls", "padded"]
"""The token that ends the text; the first one; or what the network makes itself of texts that are
padded to one length, the padding read as well."""


@dataclass(frozen=True)
class ClipFamily:
    """Checkpoints that work alike.

    Attributes:
        text: what of the texts' network is the feature.
        projected: whether a linear projection stands behind each network, or is inside of it.
    """

    text: TextFeature
    projected: bool


_CLIP: Final = ClipFamily("lasttoken", projected=True)
_BERT: Final = ClipFamily("cls", projected=True)
_SIGLIP: Final = ClipFamily("padded", projected=False)

CLIP_FAMILIES: Final[dict[str, ClipFamily]] = {
    "clip": _CLIP,
    "metaclip_2": _CLIP,
    "aimv2": _CLIP,
    "altclip": _BERT,
    "chinese_clip": _BERT,
    "siglip": _SIGLIP,
    "siglip2": _SIGLIP,
}
"""By the model_type in config.json."""

REFUSED: Final = (
    "align",
    "blip",
    "blip-2",
    "clipseg",
    "flava",
    "groupvit",
    "owlv2",
    "owlvit",
    "tipsv2",
    "vision-text-dual-encoder",
)
"""Others with features of texts and of images: those of detection, segmentation, video and
generation, and those whose projections are no linear layers or whose preprocessing is another."""
PARTS: Final = frozenset({"text_config", "vision_config"})
"""What config.json of a network for both has."""
