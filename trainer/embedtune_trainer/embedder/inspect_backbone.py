"""A backbone looked at without its weights: what `embedtune inspect` shows.

Library networks are built from their names; folders are in inspect_folder and inspect_pair.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.analysis import Analysis, analyse, bottleneck_cuts, module_sizes
from embedtune_trainer.embedder.assemble import Own, build_parts
from embedtune_trainer.embedder.clip import is_pair_folder
from embedtune_trainer.embedder.cut import FeatureShape
from embedtune_trainer.embedder.hub_cut import KIND as HUB_CUT
from embedtune_trainer.embedder.hub_cut import bare_cut, followed
from embedtune_trainer.embedder.inspect_folder import bare_network, cut_encoder, inspect_folder
from embedtune_trainer.embedder.meta import built_without_weights
from embedtune_trainer.embedder.mlp import VectorBackbone, dimension
from embedtune_trainer.embedder.reload import refuse_cut
from embedtune_trainer.embedder.saved import SETTINGS, own_of, read_settings, read_vision
from embedtune_trainer.embedder.surgery import CutNetwork, Examined, Surgery
from embedtune_trainer.embedder.trace import Trace
from embedtune_trainer.embedder.vision import (
    examine_for,
    library_model,
    preprocessing_of,
    weights_name,
)
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.images.preprocessing import Preprocessing
from embedtune_trainer.sources.fetch import Fetched


def inspect_backbone(encoder: Encoder, fetched: Fetched | None = None) -> Analysis:
    """Look at a backbone and at what the spec makes of it; nothing is computed or trained.

    Args:
        encoder: the backbone, and cut, pooling, projection, freeze and lora.
        fetched: its folder, which needs no weights; not for torchvision://, timm:// and mlp://.

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
    if is_pair_folder(folder):
        raise UnsupportedModel(
            f"{encoder.backbone} is a pair of a text and an image encoder, where one is wanted"
        )
    return inspect_any_folder(folder, encoder)


def saved_network(folder: Path) -> nn.Module:
    """The network of one half of a saved pair as it was trained, without weights."""
    if _is_saved(folder):
        settings = read_settings(folder)
        if settings.get("kind") == HUB_CUT:
            cut, surgery = bare_cut(settings)
            surgery.perform(cut)
            return cut
        described = read_vision(settings)
        model = library_model(described.backbone, described.weights)
        network = built_without_weights(lambda: model.build(described.preprocessing.size))
        described.surgery.perform(network)
        return network
    bare: nn.Module = bare_network(folder)
    return bare


def inspect_any_folder(folder: Path, encoder: Encoder, under: str = "") -> Analysis:
    """A folder that embedtune saved, or one of Hugging Face or sentence-transformers.

    Args:
        folder: its configurations; weights need not be there.
        encoder: what the spec says.
        under: what the paths of its modules begin with, as half of a pair.
    """
    if _is_saved(folder):
        return _saved(folder, encoder, under)
    return inspect_folder(folder, encoder, under)


def _is_saved(folder: Path) -> bool:
    """Whether embedtune saved it in its own layout alone."""
    return (folder / SETTINGS).exists() and not (folder / "config.json").exists()


def _library(
    examined: Examined, surgery: Surgery, own: Own, encoder: Encoder, under: str = ""
) -> Analysis:
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
        candidates=bottleneck_cuts(examined.run, examined.head),
        under=under,
    )


def _saved(folder: Path, encoder: Encoder, under: str) -> Analysis:
    """What embedtune saved: a library's network that was cut already, or a projection."""
    settings = read_settings(folder)
    refuse_cut(folder, encoder)
    if settings.get("kind") == "mlp":
        plain = encoder.model_copy(update={"backbone": str(settings["backbone"])})
        return _vectors(plain, own_of(settings, None, "vector", cls=False))
    if settings.get("kind") == HUB_CUT:
        return _cut(settings, encoder, under).without_cuts()
    described = read_vision(settings)
    if encoder.image_size is not None:
        described = described.with_size(encoder.image_size)
    model = library_model(described.backbone, described.weights)
    examined = examine_for(model, described.preprocessing, encoder)
    surgery = described.surgery
    own = own_of(settings, None, surgery.shape.kind, cls=surgery.class_token)
    return _library(examined, surgery, own, encoder, under).without_cuts()


def _cut(settings: Mapping[str, Any], encoder: Encoder, under: str) -> Analysis:
    """A network of Hugging Face that was cut."""
    network, surgery = bare_cut(settings)
    how = Preprocessing.from_dict(settings.get("preprocessing", {}))
    if encoder.image_size is not None:
        how = how.with_size(encoder.image_size)
    own = own_of(settings, None, surgery.shape.kind, cls=surgery.class_token)
    run = followed(network, how.size)
    return cut_encoder(network, run, surgery, own, encoder, size=how.size, under=under)


def _vectors(encoder: Encoder, own: Own | None = None) -> Analysis:
    dim = dimension(encoder)
    if encoder.projection is None and own is None:
        raise BadSpec(
            f"spec.model.projection: is required with {encoder.backbone}, which is nothing else"
        )
    backbone = VectorBackbone(nn.Identity(), dim)
    return analyse(
        backbone.network,
        Trace(backbone.network, (), None, None),
        build_parts(backbone, own or Own("vector", ()), encoder, 0),
        backbone=encoder.backbone,
        takes=f"vectors of {dim} numbers",
        sizes={},
        head=None,
        cut="the vectors themselves",
        feature=FeatureShape("vector", dim),
    )
