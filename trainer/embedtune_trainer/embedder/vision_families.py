"""Hugging Face's image networks: what their outputs are, and which of them is the feature."""

from dataclasses import dataclass
from typing import Any, Final

from embedtune_trainer.embedder.features import FeatureKind


@dataclass(frozen=True)
class VisionFamily:
    """Networks that work alike.

    Attributes:
        raw: what last_hidden_state is: an image's tokens, or its places (B, H, Y, X).
        class_token: whether its first token stands for the whole image.
        pooled: whether the feature is pooler_output, and not the class token.
        why: the reason.
        pooled_by: the module that only pooler_output passes through, if it has weights.
        prefix: tokens in front of the image's.
    """

    raw: FeatureKind
    class_token: bool
    pooled: bool
    why: str
    pooled_by: str | None = None
    prefix: int = 0

    @property
    def averages(self) -> bool:
        """Whether pooler_output is the average over the places and nothing else."""
        return self.raw == "places" and self.pooled and self.pooled_by is None

    @property
    def pooling(self) -> tuple[str, ...]:
        """What `pooling: auto` means, as Pooling takes it."""
        return () if self.pooled else ("cls",)

    @property
    def kind(self) -> FeatureKind:
        """What the feature is with `pooling: auto`."""
        return "vector" if self.pooled else self.raw

    def prefix_in(self, config: Any) -> int:  # noqa: ANN401  configurations share no type
        """Class and register tokens of a network."""
        return self.prefix + int(getattr(config, "num_register_tokens", 0) or 0)


_CLS: Final = (
    "what its classifiers take; its pooler, where a checkpoint has one, was trained for no"
    " embedding, and where it has none would start at random"
)
_VIT: Final = VisionFamily("tokens", class_token=True, pooled=False, why=_CLS, prefix=1)
_DEIT: Final = VisionFamily("tokens", class_token=True, pooled=False, why=_CLS, prefix=2)
_DINO: Final = VisionFamily(
    "tokens",
    class_token=True,
    pooled=False,
    prefix=1,
    why="what its self-supervision made the image's embedding",
)
_CONVNEXT: Final = VisionFamily(
    "places",
    class_token=False,
    pooled=True,
    pooled_by="layernorm",
    why="the average over the places and then its own layer norm, as in front of its classifier",
)
_SWIN: Final = VisionFamily(
    "tokens",
    class_token=False,
    pooled=True,
    why="the average over the places behind its layer norm, as in front of its classifier",
)
_RESNET: Final = VisionFamily(
    "places",
    class_token=False,
    pooled=True,
    why="the average over the places, as in front of its classifier",
)
_CLIP: Final = VisionFamily(
    "tokens",
    class_token=True,
    pooled=True,
    pooled_by="post_layernorm",
    prefix=1,
    why="the class token behind its last layer norm; of a whole CLIP also the visual projection",
)
_SIGLIP: Final = VisionFamily(
    "tokens",
    class_token=False,
    pooled=True,
    pooled_by="head",
    why="its attention pooling, which was trained with it",
)

FAMILIES: Final[dict[str, VisionFamily]] = {
    "vit": _VIT,
    "deit": _DEIT,
    "dinov2": _DINO,
    "dinov2_with_registers": _DINO,
    "dinov3_vit": _DINO,
    "convnext": _CONVNEXT,
    "convnextv2": _CONVNEXT,
    "swin": _SWIN,
    "swinv2": _SWIN,
    "resnet": _RESNET,
    "regnet": _RESNET,
    "bit": _RESNET,
    "clip_vision_model": _CLIP,
    "metaclip_2_vision_model": _CLIP,
    "altclip_vision_model": _CLIP,
    "chinese_clip_vision_model": _CLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2_vision_model": _SIGLIP,
    "aimv2_vision_model": _SIGLIP,
}
"""By the model_type in config.json."""
