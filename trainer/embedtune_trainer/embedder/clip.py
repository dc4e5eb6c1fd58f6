"""The two encoders of a CLIP-like checkpoint, each as a model of its own.

CLIP's text encoder is a transformer whose last token, the end of the text, is projected linearly:
a sentence-transformers model. SigLIP's reads every text padded to one length, and has its own
projection inside. The image encoders are those of hub_vision.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from torch import nn
from transformers import AutoConfig, PreTrainedModel, SiglipTextModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own, assemble
from embedtune_trainer.embedder.backbone import load_backbone, load_with
from embedtune_trainer.embedder.features import Backbone, Feature
from embedtune_trainer.embedder.hub_vision import vision_embedder
from embedtune_trainer.embedder.layers import Dense, Layer, Normalize
from embedtune_trainer.embedder.layout import TOKENIZER_FILES, Layout
from embedtune_trainer.embedder.lora import merged_state_dict
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.saved import (
    SETTINGS,
    own_of,
    read_settings,
    read_weights,
    write_settings,
    write_weights,
)
from embedtune_trainer.embedder.text import text_embedder
from embedtune_trainer.embedder.tokens import TextTokenizer, Tokens, TokenTable, load_tokenizer
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.rows.table import Items

PAIR: Final = "pair.json"
"""What embedtune saves beside the two encoders of a pair."""
SIGLIP_TEXT: Final = "siglip-text"
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
    bias = getattr(whole, "logit_bias", None)
    return ClipParts(
        folder, found, whole, float(whole.logit_scale), None if bias is None else float(bias)
    )


def clip_text(parts: ClipParts, encoder: Encoder, seed: int) -> Embedder:
    """CLIPTextEncoder: the texts' half, as the spec has it."""
    network: PreTrainedModel = parts.whole.text_model
    if parts.kind == "siglip":
        return _siglip_text(network, parts.folder, Own("vector", (), (), True), encoder, seed)
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


def is_siglip_text(folder: Path) -> bool:
    """Whether a folder is a SigLIP text encoder that embedtune saved."""
    return (folder / SETTINGS).exists() and read_settings(folder).get("kind") == SIGLIP_TEXT


def load_siglip_text(folder: Path, encoder: Encoder, seed: int) -> Embedder:
    """A SigLIP text encoder that embedtune saved.

    Raises:
        UnsupportedModel: it is broken.
    """
    layers = read_weights(folder, network=False)["layers"]
    own = own_of(read_settings(folder), layers, "vector", cls=False)
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    network = load_with(SiglipTextModel, folder, config, seed)
    return _siglip_text(network, folder, own, encoder, seed)


class SiglipTextBackbone(Backbone):
    """SigLIP's text transformer with the projection that belongs to it."""

    network: PreTrainedModel

    def forward(self, inputs: Tokens) -> Feature:
        """(B, T) tokens, padding included, to (B, H)."""
        return Feature(self.network(input_ids=inputs.ids_BT, return_dict=True).pooler_output)


class FullLengthTokenizer(TextTokenizer):
    """Every text padded to max_length; the network reads the padding, too (Zhai et al. 2023)."""

    def table(self, items: Items) -> TokenTable:
        """Tokens of all texts, max_length each."""
        found = super().table(items)
        count = len(found)
        ids_NT = np.full((count, self.max_length), self._tokenizer.pad_token_id, np.int32)
        ids_NT[np.arange(self.max_length) < found.lengths_N[:, None]] = found.ids
        offsets = np.arange(count + 1, dtype=np.int64) * self.max_length
        return TokenTable(ids_NT.reshape(-1), offsets, found.full)


def _siglip_text(
    network: PreTrainedModel, folder: Path, own: Own, encoder: Encoder, seed: int
) -> Embedder:
    config: Any = network.config
    length = int(config.max_position_embeddings)
    if encoder.max_seq_length not in (None, length):
        raise BadSpec(
            f"spec.model.maxSeqLength: SigLIP reads every text at {length} tokens; leave it out"
        )
    tokenizer = load_tokenizer(folder, lower_case=False)
    files = {n: (folder / n).read_bytes() for n in TOKENIZER_FILES if (folder / n).is_file()}

    def write(embedder: Embedder, target: Path) -> None:
        network.save_pretrained(
            str(target), state_dict=merged_state_dict(network), safe_serialization=True
        )
        for name, content in files.items():
            (target / name).write_bytes(content)
        write_settings(target, embedder, {"kind": SIGLIP_TEXT})
        write_weights(target, embedder, network=False)

    return assemble(
        SiglipTextBackbone(network, int(config.projection_size)),
        own,
        encoder,
        seed,
        processor=FullLengthTokenizer(tokenizer, length),
        write=write,
    )


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
