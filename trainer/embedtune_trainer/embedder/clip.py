"""The two encoders of a CLIP-like checkpoint, each as a model of its own.

CLIP's text encoder is a transformer whose last token, the end of the text, is projected linearly:
a sentence-transformers model. SigLIP's is in siglip. The image encoders are those of hub_vision.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from torch import nn
from transformers import PreTrainedModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own
from embedtune_trainer.embedder.backbone import load_backbone
from embedtune_trainer.embedder.hub_vision import vision_embedder
from embedtune_trainer.embedder.layers import Dense, Layer, Normalize
from embedtune_trainer.embedder.layout import Layout
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.siglip import siglip_text
from embedtune_trainer.embedder.text import text_embedder
from embedtune_trainer.errors import UnsupportedModel

PAIR: Final = "pair.json"
"""What embedtune saves beside the two encoders of a pair."""
Kind = Literal["clip", "siglip"]
KINDS: Final[tuple[Kind, ...]] = ("clip", "siglip")
"""The model_type of checkpoints that can be taken apart."""
KIN: Final = ("altclip", "blip", "blip-2", "chinese_clip", "clipseg", "metaclip_2", "siglip2")
"""Others of texts and images, which are refused with a sentence."""


@dataclass(frozen=True)
class ClipParts:
    """A checkpoint in memory.

    Attributes:
        folder: its files.
        kind: how its parts work.
        whole: the network; text_model and vision_model are in it.
        log_scale: what similarities are multiplied by, as a logarithm.
        bias: what is added to them; None where there is none.
    """

    folder: Path
    kind: Kind
    whole: Any
    log_scale: float
    bias: float | None


def is_pair_folder(folder: Path) -> bool:
    """Whether a folder holds a text and an image encoder: a CLIP, or a pair that was saved."""
    return (folder / PAIR).exists() or _model_type(folder) in (*KINDS, *KIN)


def load_clip(folder: Path, seed: int) -> ClipParts:
    """A CLIP or SigLIP checkpoint as the hub lays it out.

    Raises:
        UnsupportedModel: it cannot be loaded, or is another kind.
    """
    kind = _model_type(folder)
    found = next((known for known in KINDS if known == kind), None)
    if found is None:
        raise UnsupportedModel(
            f"{folder.name}: {kind} cannot be taken apart into a text and an image encoder;"
            f" {' and '.join(KINDS)} can, and spec.model.text and image take any two backbones"
        )
    whole: Any = load_backbone(folder, seed)
    bias = whole.logit_bias.item() if hasattr(whole, "logit_bias") else None
    return ClipParts(folder, found, whole, whole.logit_scale.item(), bias)


def clip_text(parts: ClipParts, encoder: Encoder, seed: int) -> Embedder:
    """CLIPTextEncoder: the texts' half, as the spec has it."""
    network: PreTrainedModel = parts.whole.text_model
    if parts.kind == "siglip":
        return siglip_text(network, parts.folder, Own("vector", (), (), True), encoder, seed)
    layers = (_dense(parts.whole.text_projection), Normalize())
    found = Layout(parts.folder, pooling=("lasttoken",), layers=layers, normalize=True)
    return text_embedder(network, found, encoder, seed)


def clip_image(parts: ClipParts, encoder: Encoder, seed: int) -> Embedder:
    """CLIPImageEncoder: the images' half, as the spec has it."""
    projection: tuple[Layer, ...] = ()
    if parts.kind == "clip":
        projection = (_dense(parts.whole.visual_projection),)
    return vision_embedder(parts.whole.vision_model, parts.folder, encoder, seed, projection)


def load_clip_image(folder: Path, encoder: Encoder, seed: int) -> Embedder:
    """The images' half of a checkpoint alone."""
    return clip_image(load_clip(folder, seed), encoder, seed)


def load_clip_text(folder: Path, encoder: Encoder, seed: int) -> Embedder:
    """The texts' half of a checkpoint alone."""
    return clip_text(load_clip(folder, seed), encoder, seed)


def _dense(linear: nn.Linear) -> Dense:
    """A checkpoint's projection, its weights shared."""
    layer = Dense(linear.in_features, linear.out_features, bias=linear.bias is not None)
    layer.linear = linear
    return layer


def _model_type(folder: Path) -> str | None:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return None if kind is None else str(kind)
