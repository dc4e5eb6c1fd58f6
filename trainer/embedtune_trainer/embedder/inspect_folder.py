"""Folders of Hugging Face and sentence-transformers, looked at by their configurations alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.analysis import Analysis, analyse, bottleneck_cuts, module_sizes
from embedtune_trainer.embedder.assemble import Own, build_parts
from embedtune_trainer.embedder.backbone import (
    UNUSED,
    network_class,
    position_limit,
    read_config,
    token_dim,
    usual_pooling,
)
from embedtune_trainer.embedder.cut import FeatureShape
from embedtune_trainer.embedder.features import FeatureKind
from embedtune_trainer.embedder.heads import Head
from embedtune_trainer.embedder.hub_cut import HubCutBackbone, decide_cut
from embedtune_trainer.embedder.hub_vision import (
    HubVisionBackbone,
    check_pooling,
    family_of,
    freeze_unused,
)
from embedtune_trainer.embedder.layers import Layer
from embedtune_trainer.embedder.layout import Layout, read_layout
from embedtune_trainer.embedder.meta import built_without_weights
from embedtune_trainer.embedder.naflex import NAFLEX, refuse_cut
from embedtune_trainer.embedder.naflex import probe as probe_patches
from embedtune_trainer.embedder.saved import SETTINGS, own_of, read_settings, read_text
from embedtune_trainer.embedder.siglip import SiglipTextBackbone, fixed_length, is_siglip_text
from embedtune_trainer.embedder.surgery import Surgery
from embedtune_trainer.embedder.text import TextBackbone, check_length
from embedtune_trainer.embedder.text_cut import end_after, possible_cuts, probe
from embedtune_trainer.embedder.trace import BATCH, Trace, trace
from embedtune_trainer.errors import UnsupportedModel

NOT_FOLLOWED = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)
"""What a network raises that asks for numbers where there are only shapes."""


def bare_network(folder: Path) -> Any:  # noqa: ANN401  transformers leaves it untyped
    """A folder's network, without weights."""
    return built(read_config(read_layout(folder, weights=False).transformer))


def inspect_folder(folder: Path, encoder: Encoder, under: str = "") -> Analysis:
    """An encoder of texts or of images.

    Args:
        folder: its configurations; weights need not be there.
        encoder: what the spec says.
        under: what the paths of its modules begin with, as half of a pair.

    Raises:
        UnsupportedModel: the network is not known, or cannot be followed without its weights.
        BadSpec: the spec asks for what it cannot do.
    """
    network, own = bare_network(folder), None
    if is_siglip_text(folder):
        own = own_of(read_settings(folder), None, "vector", cls=False)
        return siglip_text(network, own, encoder, under)
    found = read_layout(folder, weights=False)
    if (folder / SETTINGS).exists() and read_settings(folder).get("kind") == "text":
        found, own = read_text(folder, weights=False)
    head = _head(found.transformer, network)
    if network.main_input_name == "pixel_values":
        return image_encoder(network, folder, encoder, head=head, under=under)
    return text_encoder(network, found, encoder, own, head=head, under=under)


def built(config: Any) -> Any:  # noqa: ANN401  transformers leaves it untyped
    """The network of a configuration, without weights.

    Raises:
        UnsupportedModel: it cannot be had without.
    """
    config._attn_implementation = "eager"
    maker = network_class(type(config))
    if maker is None:
        raise UnsupportedModel(f"transformers has no network of model_type {config.model_type}")
    try:
        return built_without_weights(lambda: maker._from_config(config))
    except NOT_FOLLOWED as error:
        raise _not_followed(config, error) from error


def text_encoder(
    network: Any,  # noqa: ANN401  transformers leaves it untyped
    found: Layout,
    encoder: Encoder,
    own: Own | None = None,
    *,
    head: Head | None = None,
    under: str = "",
) -> Analysis:
    """A transformer over tokens, as text.text_embedder makes an encoder of it."""
    check_length(encoder, position_limit(network))
    sizes = module_sizes(network)
    inputs = probe(network)
    run = _followed(network, inputs)
    cuts: dict[str, FeatureKind] = dict.fromkeys(possible_cuts(network, run), "tokens")
    cut = "last_hidden_state"
    if encoder.cut != "auto":
        with torch.device("meta"):
            end_after(network, encoder.cut)
        cut, head = f"output of {encoder.cut}", None
    if isinstance(pooler := getattr(network, UNUSED, None), nn.Module):
        pooler.requires_grad_(False)
    backbone = TextBackbone(network, token_dim(network.config))
    usual = found.pooling or (usual_pooling(network),)
    own = own or Own("text", usual, found.layers, found.normalize)
    return analyse(
        network,
        run,
        build_parts(backbone, own, encoder, 0),
        backbone=encoder.backbone,
        takes=f"texts, here of {inputs['input_ids'].shape[1]} tokens",
        sizes=sizes,
        head=head,
        cut=cut,
        feature=FeatureShape("text", backbone.feature_dim),
        candidates=cuts,
        under=under,
    )


def siglip_text(
    network: Any,  # noqa: ANN401  transformers leaves it untyped
    own: Own,
    encoder: Encoder,
    under: str = "",
) -> Analysis:
    """SigLIP's texts' half, as siglip.siglip_text makes an encoder of it."""
    length = fixed_length(network, encoder)
    sizes = module_sizes(network)
    ids_BT = torch.zeros(BATCH, length, dtype=torch.long, device="meta")
    run = _followed(network, {"input_ids": ids_BT})
    backbone = SiglipTextBackbone(network, int(network.config.projection_size))
    return analyse(
        network,
        run,
        build_parts(backbone, own, encoder, 0),
        backbone=encoder.backbone,
        takes=f"texts, padded to {length} tokens",
        sizes=sizes,
        head=None,
        cut="pooler_output",
        feature=FeatureShape("vector", backbone.feature_dim),
        under=under,
    )


def image_encoder(
    network: Any,  # noqa: ANN401  transformers leaves it untyped
    folder: Path,
    encoder: Encoder,
    projection: tuple[Layer, ...] = (),
    *,
    head: Head | None = None,
    under: str = "",
) -> Analysis:
    """An image network, as hub_vision.vision_embedder makes an encoder of it."""
    family, config = family_of(network, folder), network.config
    sizes = module_sizes(network)
    size: Any = encoder.image_size or getattr(config, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else size
    any_shape = config.model_type == NAFLEX
    if any_shape:
        refuse_cut(encoder)
    if encoder.cut != "auto":
        surgery, run = decide_cut(network, folder, (height, width), encoder)
        own = Own(surgery.shape.kind, surgery.pooling, class_token=surgery.class_token)
        return cut_encoder(network, run, surgery, own, encoder, size=(height, width), under=under)
    images = torch.empty(BATCH, config.num_channels, height, width, device="meta")
    raw = encoder.pooling not in ("auto", "none")
    if (folder / SETTINGS).exists():
        settings = read_settings(folder)
        kind: FeatureKind = family.raw if raw else settings["feature"]
        own = own_of(settings, None, kind, cls=family.class_token)
    else:
        check_pooling(network, folder, encoder)
        kind = family.raw if raw else family.kind
        own = Own(kind, family.pooling, projection, class_token=family.class_token)
    prefix = family.prefix_in(config)
    backbone = HubVisionBackbone(network, kind, prefix, (height, width))
    inputs = probe_patches(network) if any_shape else {"pixel_values": images, **backbone.options}
    run = _followed(network, inputs)
    freeze_unused(network, family, kind)
    shape = FeatureShape(kind, backbone.feature_dim, prefix=prefix if kind == "tokens" else 0)
    return analyse(
        network,
        run,
        build_parts(backbone, own, encoder, 0),
        backbone=encoder.backbone,
        takes="images of any shape" if any_shape else f"images of {height} x {width} pixels",
        sizes=sizes,
        head=head,
        cut="pooler_output" if kind == "vector" else "last_hidden_state",
        feature=shape,
        candidates={} if any_shape else bottleneck_cuts(run, None),
        under=under,
    )


def cut_encoder(
    network: Any,  # noqa: ANN401  transformers leaves it untyped
    run: Trace,
    surgery: Surgery,
    own: Own,
    encoder: Encoder,
    *,
    size: tuple[int, int],
    under: str,
) -> Analysis:
    """An image network as far as its cut, as hub_cut.cut_embedder makes an encoder of it."""
    height, width = size
    sizes = module_sizes(network)
    surgery.perform(network)
    return analyse(
        network,
        run,
        build_parts(HubCutBackbone(network, surgery, {}), own, encoder, 0),
        backbone=encoder.backbone,
        takes=f"images of {height} x {width} pixels",
        sizes=sizes,
        head=None,
        cut=str(surgery.cut),
        feature=surgery.shape,
        candidates=bottleneck_cuts(run, None),
        under=under,
    )


def _followed(network: Any, inputs: Mapping[str, Any]) -> Trace:  # noqa: ANN401
    """A run on shapes."""
    try:
        with torch.device("meta"):
            return trace(network, inputs)
    except NOT_FOLLOWED as error:
        raise _not_followed(network.config, error) from error


def _not_followed(config: Any, error: Exception) -> UnsupportedModel:  # noqa: ANN401
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    kind = config.model_type
    return UnsupportedModel(f"a {kind} network cannot be followed without its weights: {said}")


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
