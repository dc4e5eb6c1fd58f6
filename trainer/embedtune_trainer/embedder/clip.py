"""The two encoders of a CLIP-like checkpoint, each as a model of its own.

CLIP's text encoder is a transformer one of whose tokens, the end of the text or its beginning, is
projected linearly. SigLIP's is in siglip. The image encoders are those of hub_vision.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import nn
from transformers import PreTrainedModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own
from embedtune_trainer.embedder.backbone import load_backbone
from embedtune_trainer.embedder.clip_families import (
    CLIP_FAMILIES,
    PARTS,
    REFUSED,
    ClipFamily,
)
from embedtune_trainer.embedder.hub_vision import vision_embedder
from embedtune_trainer.embedder.layers import Dense, Layer, Normalize
from embedtune_trainer.embedder.layout import Layout
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.open_clip import is_open_clip
from embedtune_trainer.embedder.siglip import siglip_text
from embedtune_trainer.embedder.text import text_embedder
from embedtune_trainer.errors import UnsupportedModel

PAIR: Final = "pair.json"
"""What embedtune saves beside the two encoders of a pair."""


@dataclass(frozen=True)
class ClipParts:
    """A checkpoint in memory.

    Attributes:
        folder: its files.
        family: how its parts work.
        whole: the network; text_model and vision_model are in it.
        log_scale: what similarities are multiplied by, as a logarithm.
        bias: what is added to them; None where there is none.
    """

    folder: Path
    family: ClipFamily
    whole: Any
    log_scale: float
    bias: float | None


def is_pair_folder(folder: Path) -> bool:
    """Whether a folder holds a text and an image encoder: a CLIP, or a pair that was saved."""
    config = _config(folder)
    known = config.get("model_type") in (*CLIP_FAMILIES, *REFUSED) or config.keys() >= PARTS
    return known or (folder / PAIR).exists() or is_open_clip(folder)


def load_clip(folder: Path, seed: int) -> ClipParts:
    """A checkpoint of CLIP or its kin, as the hub lays it out.

    Raises:
        UnsupportedModel: it cannot be loaded, or is another kind.
    """
    family = clip_family(folder)
    whole: Any = load_backbone(folder, seed)
    bias = whole.logit_bias.item() if hasattr(whole, "logit_bias") else None
    return ClipParts(folder, family, whole, whole.logit_scale.item(), bias)


def clip_family(folder: Path) -> ClipFamily:
    """How the parts of a checkpoint work.

    Raises:
        UnsupportedModel: it cannot be taken apart.
    """
    kind = str(_config(folder).get("model_type"))
    family = CLIP_FAMILIES.get(kind)
    if family is None:
        raise UnsupportedModel(
            f"{folder.name}: {kind} cannot be taken apart into a text and an image encoder;"
            f" {', '.join(CLIP_FAMILIES)} can, and spec.model.text and image take any two backbones"
        )
    return family


def clip_text(parts: ClipParts, encoder: Encoder, seed: int) -> Embedder:
    """CLIPTextEncoder: the texts' half, as the spec has it."""
    network: PreTrainedModel = parts.whole.text_model
    pooling = parts.family.text
    if pooling == "padded":
        return siglip_text(network, parts.folder, Own("vector", (), (), True), encoder, seed)
    layers = (projection_of(parts.whole.text_projection), Normalize())
    found = Layout(parts.folder, pooling=(pooling,), layers=layers, normalize=True)
    return text_embedder(network, found, encoder, seed)


def clip_image(parts: ClipParts, encoder: Encoder, seed: int) -> Embedder:
    """CLIPImageEncoder: the images' half, as the spec has it."""
    projection: tuple[Layer, ...] = ()
    if parts.family.projected:
        projection = (projection_of(parts.whole.visual_projection),)
    return vision_embedder(parts.whole.vision_model, parts.folder, encoder, seed, projection)


def projection_of(linear: nn.Linear) -> Dense:
    """A checkpoint's projection, its weights shared."""
    layer = Dense(linear.in_features, linear.out_features, bias=linear.bias is not None)
    layer.linear = linear
    return layer


def _config(folder: Path) -> dict[str, Any]:
    """config.json; empty if there is none that can be read."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
