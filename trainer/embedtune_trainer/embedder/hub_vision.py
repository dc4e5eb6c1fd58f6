"""Image encoders out of Hugging Face folders: ViT, DINOv2, ConvNext, Swin, CLIP's and the like.

What is saved is the network as transformers has it (AutoModel and AutoImageProcessor load the
folder), with embedtune.json beside it for pooling, layers and normalisation; and where
sentence-transformers' layout can say these, too, that, so that it loads the same folder.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from transformers import PreTrainedModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own, assemble
from embedtune_trainer.embedder.backbone import load_backbone
from embedtune_trainer.embedder.features import Backbone, Feature, FeatureKind
from embedtune_trainer.embedder.layers import Layer, saved_layers
from embedtune_trainer.embedder.layout import MODULES, Layout, read_layout, write_layout
from embedtune_trainer.embedder.lora import save_merged
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.naflex import NAFLEX, naflex_embedder
from embedtune_trainer.embedder.pooling import GEM
from embedtune_trainer.embedder.saved import (
    LAYERS,
    SETTINGS,
    own_of,
    read_settings,
    read_weights,
    write_settings,
    write_weights,
)
from embedtune_trainer.embedder.vision_families import FAMILIES, VisionFamily
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.images.peers import preprocessing_from_hub
from embedtune_trainer.images.preprocessing import Preprocessing
from embedtune_trainer.images.processor import ImageProcessor

PREPROCESSOR: Final = "preprocessor_config.json"
PROCESSOR: Final = "processor_config.json"
"""Where transformers 5 puts the preprocessing of a checkpoint of texts and images."""
NO_HEAD: Final = ("vision_use_head", "use_head")
"""What is false in the configuration of a SigLIP's or AIMv2's network without its pooling."""
POOLED: Final = "pooler_output"
POOLER: Final = "add_pooling_layer"
"""What a network of transformers is told that is to have none."""
RESIZABLE: Final = "interpolate_pos_encoding"


class HubVisionBackbone(Backbone):
    """One of transformers' image networks.

    Attributes:
        kind: of the feature.
        options: what the network is told besides the images.
        prefix: class and register tokens in front of the image's.
    """

    network: PreTrainedModel

    def __init__(
        self, network: PreTrainedModel, kind: FeatureKind, prefix: int, size: tuple[int, int]
    ) -> None:
        """`size`: height and width of images, in pixels."""
        config: Any = network.config
        super().__init__(network, int(getattr(config, "hidden_size", 0) or config.hidden_sizes[-1]))
        self.kind = kind
        self.prefix = prefix
        self.options = resizing(network, size)

    def forward(self, inputs: Tensor) -> Feature:
        """(B, 3, Y, X) to what `kind` says."""
        out = self.network(pixel_values=inputs, return_dict=True, **self.options)
        if self.kind == "vector":
            return Feature(out.pooler_output.flatten(1))
        return Feature(out.last_hidden_state, prefix=self.prefix)


def resizing(network: PreTrainedModel, size: tuple[int, int]) -> dict[str, bool]:
    """What a network is told besides the images, whose height and width in pixels are `size`."""
    resizable = RESIZABLE in inspect.signature(type(network).forward).parameters
    own = getattr(network.config, "image_size", size[0])
    return {RESIZABLE: True} if resizable and own not in (size[0], size, list(size)) else {}


def load_hub_vision_encoder(folder: Path, encoder: Encoder, seed: int) -> Embedder:
    """An image network of a folder, as the spec has it.

    Raises:
        UnsupportedModel: the folder cannot be loaded, or is of an unknown family.
        BadSpec: the spec asks for what this network cannot do.
    """
    return vision_embedder(load_backbone(folder, seed), folder, encoder, seed)


def vision_embedder(
    network: PreTrainedModel,
    folder: Path,
    encoder: Encoder,
    seed: int,
    projection: tuple[Layer, ...] = (),
) -> Embedder:
    """The rest of the way, for a network that is loaded already.

    Args:
        network: without a head.
        folder: where its preprocessing is described, and what embedtune saved beside it.
        encoder: what the spec says.
        seed: of new layers.
        projection: what stands behind the pooling, where the folder does not say.
    """
    if network.config.model_type == NAFLEX:
        check_pooling(network, folder, encoder)
        return naflex_embedder(network, folder, _processor_config(folder), encoder, seed)
    if encoder.cut != "auto":
        from embedtune_trainer.embedder.hub_cut import cut_embedder

        how = preprocessing_from_hub(_processor_config(folder))
        if encoder.image_size is not None:
            how = how.with_size(encoder.image_size)
        return cut_embedder(network, folder, how, encoder, seed)
    family = family_of(network, folder)
    saved = (folder / SETTINGS).exists()
    own, how = (
        _saved(folder, family) if saved else _new(folder, encoder, family, network, projection)
    )
    if encoder.image_size is not None:
        how = how.with_size(encoder.image_size)
    if encoder.pooling not in ("auto", "none"):
        own = replace(own, kind=family.raw, class_token=family.class_token)
    raw = _processor_config(folder)
    backbone = HubVisionBackbone(network, own.kind, family.prefix_in(network.config), how.size)
    freeze_unused(network, family, own.kind)

    def write(embedder: Embedder, target: Path) -> None:
        save_merged(network, target)
        content = raw if encoder.image_size is None else _resized(raw, how)
        (target / PREPROCESSOR).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        described = {
            "kind": "hub-vision",
            "feature": own.kind,
            "preprocessing": how.to_dict(),
        }
        write_settings(target, embedder, described)
        write_weights(target, embedder, network=False)
        layout = _layout_of(embedder, backbone, family, target)
        if layout is not None:
            write_layout(target, layout, backbone.feature_dim)

    return assemble(backbone, own, encoder, seed, processor=ImageProcessor(how), write=write)


def _layout_of(
    embedder: Embedder, backbone: HubVisionBackbone, family: VisionFamily, folder: Path
) -> Layout | None:
    """What sentence-transformers' layout says of an encoder; None if it cannot.

    It passes the network nothing but the images, and pools over all of the tokens.
    """
    modes = embedder.pooling.modes
    if backbone.options or GEM in modes or _pools_prefix(backbone.prefix, modes):
        return None
    output = "last_hidden_state"
    if backbone.kind == "vector":
        output, modes = ("last_hidden_state", ("mean",)) if family.averages else (POOLED, ())
    layers = tuple(saved_layers(list(embedder.layers)))
    network = backbone.network
    headless = POOLER in inspect.signature(type(network)).parameters and network.pooler is None
    return Layout(
        folder,
        pooling=modes,
        layers=layers,
        output=output,
        options={POOLER: False} if headless else {},
        settings={"similarity_fn_name": "cosine"},
    )


def _pools_prefix(prefix: int, modes: tuple[str, ...]) -> bool:
    """Whether sentence-transformers' pooling would mix class tokens in, which ours leaves out."""
    return prefix > 0 and bool(set(modes) - {"cls"})


def family_of(network: PreTrainedModel, folder: Path) -> VisionFamily:
    """How this network works.

    Raises:
        UnsupportedModel: nobody has said it.
    """
    kind = str(network.config.model_type)
    if kind not in FAMILIES:
        raise UnsupportedModel(
            f"{folder.name}: {kind} is none of the image networks known here, which are"
            f" {', '.join(FAMILIES)}; many others can be had as timm://NAME"
        )
    return FAMILIES[kind]


def _new(
    folder: Path,
    encoder: Encoder,
    family: VisionFamily,
    network: PreTrainedModel,
    projection: tuple[Layer, ...],
) -> tuple[Own, Preprocessing]:
    """What a folder of the hub means."""
    how = preprocessing_from_hub(_processor_config(folder))
    if (folder / MODULES).exists():
        return _own_of(read_layout(folder), family, network), how
    check_pooling(network, folder, encoder)
    return Own(family.kind, family.pooling, projection, class_token=family.class_token), how


def _own_of(layout: Layout, family: VisionFamily, network: PreTrainedModel) -> Own:
    """What a folder of sentence-transformers means.

    Raises:
        UnsupportedModel: it pools what is no place of the image.
    """
    modes = layout.pooling
    known = layout.output == ("last_hidden_state" if modes else POOLED)
    if not known or _pools_prefix(family.prefix_in(network.config), modes):
        raise UnsupportedModel(
            f"{layout.transformer.name}/{MODULES}: pools {layout.output} by"
            f" {', '.join(modes) or 'nothing'}; known are {POOLED} by nothing, and"
            " last_hidden_state by cls or, where there is no class token, by others"
        )
    kind: FeatureKind = family.raw if modes else "vector"
    return Own(kind, modes, layout.layers, layout.normalize, class_token=family.class_token)


def check_pooling(network: PreTrainedModel, folder: Path, encoder: Encoder) -> None:
    """Refuse `pooling: auto` for a network that was saved without a pooling of its own.

    Raises:
        BadSpec: it was.
    """
    no_head = any(getattr(network.config, name, True) is False for name in NO_HEAD)
    if no_head and encoder.pooling == "auto":
        raise BadSpec(
            f"spec.model.pooling: {folder.name} has no pooling of its own; use mean, max or gem"
        )


def _saved(folder: Path, family: VisionFamily) -> tuple[Own, Preprocessing]:
    """What embedtune saved."""
    settings = read_settings(folder)
    try:
        kind: FeatureKind = settings["feature"]
        how = Preprocessing.from_dict(settings["preprocessing"])
    except (KeyError, TypeError) as error:
        raise UnsupportedModel(f"{folder.name}/{SETTINGS}: lacks {error}") from None
    layers = read_weights(folder, network=False)["layers"] if (folder / LAYERS).exists() else {}
    return own_of(settings, layers, kind, cls=family.class_token), how


def freeze_unused(network: PreTrainedModel, family: VisionFamily, kind: FeatureKind) -> None:
    """Take out a pooler that nothing passes through; freeze what only pooler_output does."""
    if not family.pooled and hasattr(network, "pooler"):
        network.pooler = None  # type: ignore[assignment]  # transformers leaves it out like this
    if family.pooled_by and kind != "vector":
        network.get_submodule(family.pooled_by).requires_grad_(False)


def _processor_config(folder: Path) -> dict[str, Any]:
    """preprocessor_config.json, or the images' part of processor_config.json."""
    for name in (PREPROCESSOR, PROCESSOR):
        path = folder / name
        if not path.exists():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return dict(content if name == PREPROCESSOR else content["image_processor"])
        except (ValueError, KeyError, TypeError) as error:
            raise UnsupportedModel(
                f"{folder.name}/{name}: does not describe a preprocessing of images: {error}"
            ) from None
    raise UnsupportedModel(
        f"{folder.name}: no {PREPROCESSOR}, which says how images become numbers"
    )


def _resized(config: Mapping[str, Any], how: Preprocessing) -> dict[str, Any]:
    """The same preprocessing for images of another size."""
    height, width = how.size
    if "ConvNext" in str(config.get("image_processor_type", config.get("feature_extractor_type"))):
        return {**config, "size": {"shortest_edge": height}}
    if how.resize is None:
        return {**config, "size": {"height": height, "width": width}}
    size = (
        {"shortest_edge": how.resize}
        if isinstance(how.resize, int)
        else {"height": how.resize[0], "width": how.resize[1]}
    )
    return {**config, "size": size, "crop_size": {"height": height, "width": width}}
