"""A backbone looked at without its weights: what `embedtune inspect` shows.

Library networks are built from their names, Hugging Face folders from config.json alone.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.analysis import Analysis, analyse, module_sizes
from embedtune_trainer.embedder.assemble import Own, build_parts
from embedtune_trainer.embedder.backbone import read_config, usual_pooling
from embedtune_trainer.embedder.clip import is_pair_folder
from embedtune_trainer.embedder.cut import FeatureShape
from embedtune_trainer.embedder.features import FeatureKind
from embedtune_trainer.embedder.heads import Head
from embedtune_trainer.embedder.hub_vision import HubVisionBackbone
from embedtune_trainer.embedder.layout import read_layout
from embedtune_trainer.embedder.meta import built_without_weights
from embedtune_trainer.embedder.mlp import SCHEME, VectorBackbone
from embedtune_trainer.embedder.saved import (
    SETTINGS,
    own_of,
    read_settings,
    read_text,
    read_vision,
    read_weights,
)
from embedtune_trainer.embedder.surgery import CutNetwork, Examined, Surgery
from embedtune_trainer.embedder.text import TextBackbone
from embedtune_trainer.embedder.trace import BATCH, Trace, trace
from embedtune_trainer.embedder.vision import (
    LibraryModel,
    examine_for,
    library_model,
    preprocessing_of,
    weights_name,
)
from embedtune_trainer.embedder.vision_families import FAMILIES
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.sources.fetch import Fetched

TOKENS = 16
"""Length of the texts that are traced."""


def inspect_backbone(encoder: Encoder, fetched: Fetched | None = None) -> Analysis:
    """Look at a backbone and at what the spec makes of it; nothing is computed or trained.

    Args:
        encoder: the backbone, and cut, pooling, projection, freeze and lora.
        fetched: its folder; not needed for torchvision://, timm:// and mlp://.

    Raises:
        UnsupportedModel: the backbone is not known.
        BadSpec: the spec asks for what it cannot do.
    """
    scheme = encoder.backbone.partition("://")[0]
    if scheme == "mlp":
        return _vectors(encoder)
    if scheme in ("torchvision", "timm"):
        model = library_model(encoder.backbone, weights_name(encoder))
        examined = examine_for(model, preprocessing_of(model, encoder), encoder)
        surgery = examined.decide(encoder)
        own = Own(surgery.shape.kind, surgery.pooling, class_token=surgery.class_token)
        return _library(examined, surgery, own, encoder)
    folder = fetched.folder if fetched else None
    if folder is None:
        raise BadSpec(f"spec.model.backbone: {encoder.backbone} has to be fetched first")
    if (folder / SETTINGS).exists() and not (folder / "config.json").exists():
        return _saved(folder, encoder)
    if is_pair_folder(folder):
        raise UnsupportedModel(
            f"{folder.name}: is a pair of encoders; name the text and the image encoder each"
        )
    return _folder(folder, encoder)


def _library(examined: Examined, surgery: Surgery, own: Own, encoder: Encoder) -> Analysis:
    network = examined.network
    sizes = module_sizes(network)
    surgery.perform(network)
    parts = build_parts(CutNetwork(network, surgery.ending, surgery.shape), own, encoder, 0)
    height, width = examined.size
    return analyse(
        network,
        examined.run,
        parts,
        backbone=encoder.backbone,
        takes=f"images of {height} x {width} pixels",
        sizes=sizes,
        head=examined.head if encoder.cut == "auto" else None,
        cut=str(surgery.cut),
        feature=surgery.shape,
        cuttable=True,
    )


def _saved(folder: Path, encoder: Encoder) -> Analysis:
    """What embedtune saved: a library's network that was cut already, or a projection."""
    settings = read_settings(folder)
    layers = read_weights(folder)["layers"]
    if settings.get("kind") == "mlp":
        plain = encoder.model_copy(update={"backbone": str(settings["backbone"])})
        return _vectors(plain, own_of(settings, layers, "vector", cls=False))
    described = read_vision(settings)
    if encoder.image_size is not None:
        described = described.with_size(encoder.image_size)
    model: LibraryModel = library_model(described.backbone, described.weights)
    examined = examine_for(model, described.preprocessing, encoder)
    surgery = described.surgery
    own = own_of(settings, layers, surgery.shape.kind, cls=surgery.class_token)
    return _library(examined, surgery, own, encoder)


def _vectors(encoder: Encoder, own: Own | None = None) -> Analysis:
    if encoder.projection is None and own is None:
        raise BadSpec(f"spec.model.projection: is required with {encoder.backbone}")
    dim = int(encoder.backbone.removeprefix(SCHEME))
    backbone = VectorBackbone(nn.Identity(), dim)
    parts = build_parts(backbone, own or Own("vector", ()), encoder, 0)
    return analyse(
        backbone.network,
        Trace(backbone.network, (), None, None),
        parts,
        backbone=encoder.backbone,
        takes=f"vectors of {dim} numbers",
        sizes={},
        head=None,
        cut="the vectors themselves",
        feature=FeatureShape("vector", dim),
    )


def _folder(folder: Path, encoder: Encoder) -> Analysis:
    """A Hugging Face or sentence-transformers folder."""
    if encoder.cut != "auto":
        raise BadSpec("spec.model.cut: of a folder it can only be told with its weights")
    found, saved = read_layout(folder), None
    if (folder / SETTINGS).exists() and read_settings(folder).get("kind") == "text":
        found, saved = read_text(folder)
    config = read_config(found.transformer)
    config._attn_implementation = "eager"
    maker: Any = AutoModel
    network: Any = built_without_weights(lambda: maker.from_config(config))
    sizes = module_sizes(network)
    inputs, takes = _inputs(network, encoder)
    with torch.device("meta"):
        run = trace(network, inputs)
    sees = "pixel_values" in inputs
    backbone: HubVisionBackbone | TextBackbone
    if sees:
        backbone, own = _hub_vision(folder, network, encoder)
        cut = "pooler_output" if own.kind == "vector" else "last_hidden_state"
    else:
        backbone = TextBackbone(network, int(config.hidden_size))
        pooling = found.pooling or (usual_pooling(network),)
        own = saved or Own("text", pooling, found.layers, found.normalize)
        cut = "last_hidden_state"
    if isinstance(pooler := getattr(network, "pooler", None), nn.Module) and cut != "pooler_output":
        pooler.requires_grad_(False)
    return analyse(
        network,
        run,
        build_parts(backbone, own, encoder, 0),
        backbone=encoder.backbone,
        takes=takes,
        sizes=sizes,
        head=_head(found.transformer, network),
        cut=cut,
        feature=FeatureShape(own.kind, backbone.feature_dim),
    )


def _inputs(network: Any, encoder: Encoder) -> tuple[dict[str, Tensor], str]:  # noqa: ANN401
    """What the network takes, without numbers, and in words."""
    if network.main_input_name != "pixel_values":
        ids_BT = torch.zeros(BATCH, TOKENS, dtype=torch.long, device="meta")
        inputs = {"input_ids": ids_BT}
        if usual_pooling(network) == "lasttoken":
            # without a mask a decoder would ask for numbers, which do not exist here
            inputs["attention_mask"] = torch.ones_like(ids_BT)
        return inputs, f"texts, here of {TOKENS} tokens"
    size: Any = encoder.image_size or getattr(network.config, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else size
    images = torch.empty(BATCH, network.config.num_channels, height, width, device="meta")
    return {"pixel_values": images}, f"images of {height} x {width} pixels"


def _hub_vision(
    folder: Path,
    network: Any,  # noqa: ANN401  transformers leaves it untyped
    encoder: Encoder,
) -> tuple[HubVisionBackbone, Own]:
    family = FAMILIES.get(str(network.config.model_type))
    if family is None:
        raise UnsupportedModel(
            f"{folder.name}: {network.config.model_type} is none of the image networks known here,"
            f" which are {', '.join(FAMILIES)}"
        )
    kind: FeatureKind = family.kind
    if encoder.pooling not in ("auto", "none"):
        kind = family.raw
    own = Own(kind, family.pooling, class_token=family.class_token)
    return HubVisionBackbone(network, kind, family.prefix_in(network.config), (0, 0)), own


def _head(folder: Path, network: Any) -> Head | None:  # noqa: ANN401  transformers leaves it untyped
    """The head that the checkpoint has besides the network, by config.json."""
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = next(iter(raw.get("architectures") or ()), None)
    if named in (None, type(network).__name__):
        return None
    prefix = network.base_model_prefix
    return Head(
        f"what {named} has besides {prefix}",
        f"{prefix} is its part without a head, by transformers' base_model_prefix",
    )
