"""From what was fetched to a model that can be trained: which kind of backbone it is, and how."""

import json
from pathlib import Path

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.sources.fetch import Fetched

__all__ = ["Fetched", "load_encoder", "load_tower", "open_model", "trainable"]

NOTHING_LEFT = (
    "spec.model.freeze: nothing is left to train; freeze less, or add spec.model.projection"
)


def load_encoder(fetched: Fetched, encoder: Encoder, seed: int) -> Embedder:
    """One encoder as the spec asks, in evaluation mode.

    Raises:
        UnsupportedModel: the backbone cannot be loaded.
        BadSpec: the spec asks for what this model cannot do, or leaves nothing to train.
    """
    return trainable(load_tower(fetched, encoder, seed))


def trainable(embedder: Embedder) -> Embedder:
    """The same.

    Raises:
        BadSpec: nothing of it is left to train.
    """
    if not any(parameter.requires_grad for parameter in embedder.parameters()):
        raise BadSpec(NOTHING_LEFT)
    return embedder


def load_tower(fetched: Fetched, encoder: Encoder, seed: int) -> Embedder:
    """One encoder of a pair, which may be frozen as a whole (Zhai et al. 2022, LiT).

    Raises:
        UnsupportedModel: the backbone cannot be loaded.
        BadSpec: the spec asks for what this model cannot do.
    """
    scheme = encoder.backbone.partition("://")[0]
    if scheme == "mlp":
        from embedtune_trainer.embedder.mlp import load_mlp_encoder

        return load_mlp_encoder(encoder, seed)
    if scheme in ("torchvision", "timm"):
        from embedtune_trainer.embedder.vision import load_vision_encoder

        return load_vision_encoder(fetched, encoder, seed)
    if fetched.folder is None:
        raise BadSpec(f"spec.model.backbone: {fetched.uri} cannot be loaded")
    return load_folder(fetched.folder, encoder, seed)


def open_model(folder: str | Path) -> Embedder:
    """A model that was saved, or a pre-trained one, as it is: to embed with `encode`.

    Raises:
        UnsupportedModel: it is broken, or not known.
        BadSpec: it is a pair; open its folders text and image.
    """
    path = Path(folder).absolute()
    return load_folder(path, Encoder(backbone=path.as_uri()), 0)


def load_folder(folder: Path, encoder: Encoder, seed: int) -> Embedder:
    """By what lies in it; nothing may be left to train.

    Raises:
        UnsupportedModel: the folder cannot be loaded.
        BadSpec: the spec asks for what this model cannot do, or a pair is given for one encoder.
    """
    from embedtune_trainer.embedder import clip, siglip

    if clip.is_pair_folder(folder):
        raise BadSpec(
            f"{encoder.backbone} is a pair of a text and an image encoder; it is"
            " spec.model.backbone, of both or, with spec.model.task, of one of them"
        )
    if siglip.is_siglip_text(folder):
        return siglip.load_siglip_text(folder, encoder, seed)
    if (folder / "embedtune.json").exists() and not (folder / "config.json").exists():
        from embedtune_trainer.embedder.reload import load_saved

        return load_saved(folder, encoder, seed)
    if _sees(folder):
        from embedtune_trainer.embedder.hub_vision import load_hub_vision_encoder

        return load_hub_vision_encoder(folder, encoder, seed)
    from embedtune_trainer.embedder.text import load_text_encoder

    return load_text_encoder(folder, encoder, seed)


def _sees(folder: Path) -> bool:
    """Whether config.json is that of a network over images alone."""
    from transformers import CONFIG_MAPPING

    from embedtune_trainer.embedder.backbone import network_class

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        known = CONFIG_MAPPING[config["model_type"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False  # the text loader says what is wrong
    return getattr(network_class(known), "main_input_name", None) == "pixel_values"
