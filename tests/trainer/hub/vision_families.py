"""Tiny random image models of the usual families, saved as the hub lays them out."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image

from embedtune_trainer.rows.table import Images

SIDE = 32
VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": SIDE,
    "patch_size": 8,
}
SQUARE = {"height": SIDE, "width": SIDE}


@dataclass(frozen=True)
class VisionFamily:
    """How one family is made, and what is expected of it.

    Attributes:
        name: what people call it.
        network: the class that loading gives.
        checkpoint: the class that is saved, with a head where there is one.
        config: of the tiny model.
        processor: its image processor.
        dim: of the feature.
        raw: other poolings that it can have.
    """

    name: str
    network: str
    checkpoint: str
    config: hf.PretrainedConfig
    processor: Any
    dim: int
    raw: tuple[str, ...] = field(default=("mean", "max", "gem"))

    def save(self, folder: Path) -> Path:
        """Weights, configuration and preprocessing."""
        torch.manual_seed(0)
        getattr(hf, self.checkpoint)(self.config).save_pretrained(folder)
        self.processor.save_pretrained(folder)
        return folder


def pictures() -> list[Image.Image]:
    """Squares of several sizes with noise in them."""
    chance = np.random.default_rng(0)
    return [
        Image.fromarray(chance.integers(0, 256, (40 + 3 * i, 40 + 3 * i, 3), dtype=np.uint8))
        for i in range(3)
    ]


def images() -> Images:
    """The same as PNG files in memory."""
    values: list[Any] = []
    for picture in pictures():
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        values.append(stream.getvalue())
    return Images(values, [f"image {i}" for i in range(len(values))])


_VIT = hf.ViTImageProcessor(size=SQUARE)
_BIT = hf.BitImageProcessor(size={"shortest_edge": SIDE + 8}, crop_size=SQUARE)
_CONVNEXT = hf.ConvNextImageProcessor(size={"shortest_edge": 2 * SIDE})

VISION_FAMILIES = (
    VisionFamily(
        "ViT", "ViTModel", "ViTForImageClassification", hf.ViTConfig(**VIT), _VIT, 32,
        ("cls", "mean", "max", "gem"),
    ),
    VisionFamily(
        "DeiT", "DeiTModel", "DeiTForImageClassification", hf.DeiTConfig(**VIT), _VIT, 32,
        ("cls", "mean", "max", "gem"),
    ),
    VisionFamily(
        "DINOv2", "Dinov2Model", "Dinov2Model",
        hf.Dinov2Config(**{**VIT, "mlp_ratio": 2}), _BIT, 32,
        ("cls", "mean", "max", "gem"),
    ),
    VisionFamily(
        "DINOv2 with registers", "Dinov2WithRegistersModel",
        "Dinov2WithRegistersForImageClassification",
        hf.Dinov2WithRegistersConfig(**{**VIT, "mlp_ratio": 2}), _BIT, 32,
        ("cls", "mean", "max", "gem"),
    ),
    VisionFamily(
        "ConvNext", "ConvNextModel", "ConvNextForImageClassification",
        hf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], image_size=SIDE),
        _CONVNEXT, 32,
    ),
    VisionFamily(
        "ConvNextV2", "ConvNextV2Model", "ConvNextV2ForImageClassification",
        hf.ConvNextV2Config(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], image_size=SIDE),
        _CONVNEXT, 32,
    ),
    VisionFamily(
        "Swin", "SwinModel", "SwinForImageClassification",
        hf.SwinConfig(
            image_size=SIDE, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2],
            window_size=4,
        ),
        _VIT, 32,
    ),
    VisionFamily(
        "Swin V2", "Swinv2Model", "Swinv2ForImageClassification",
        hf.Swinv2Config(
            image_size=SIDE, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2],
            window_size=4,
        ),
        _VIT, 32,
    ),
    VisionFamily(
        "ResNet", "ResNetModel", "ResNetForImageClassification",
        hf.ResNetConfig(hidden_sizes=[16, 32], depths=[1, 1], embedding_size=8),
        _CONVNEXT, 32,
    ),
    VisionFamily(
        "BiT", "BitModel", "BitForImageClassification",
        hf.BitConfig(hidden_sizes=[32, 64], depths=[1, 1], embedding_size=32, num_groups=8),
        _BIT, 64,
    ),
    VisionFamily(
        "CLIP's image encoder", "CLIPVisionModel", "CLIPVisionModel", hf.CLIPVisionConfig(**VIT),
        hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SQUARE), 32,
        ("cls", "mean", "max", "gem"),
    ),
    VisionFamily(
        "SigLIP's image encoder", "SiglipVisionModel", "SiglipVisionModel",
        hf.SiglipVisionConfig(**VIT), hf.SiglipImageProcessor(size=SQUARE), 32,
    ),
)  # fmt: skip
