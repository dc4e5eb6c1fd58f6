"""Models that sentence-transformers' layout cannot hold: model.safetensors and embedtune.json.

embedtune.json says what is rebuilt around the weights: the library's network and what was cut off
it, pooling, layers, preprocessing. Nothing else is needed to load it, no hub and no other file.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from embedtune_trainer.embedder.assemble import Own
from embedtune_trainer.embedder.cut import Cut, FeatureShape
from embedtune_trainer.embedder.features import FeatureKind
from embedtune_trainer.embedder.gem import GemOptions
from embedtune_trainer.embedder.layers import Dense, Layer, LayerNorm, Normalize, saved_layers
from embedtune_trainer.embedder.layout import Layout
from embedtune_trainer.embedder.lora import merged_state_dict
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.surgery import Surgery
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.images.preprocessing import Preprocessing

SETTINGS: Final = "embedtune.json"
WEIGHTS: Final = "model.safetensors"
LAYERS: Final = "embedtune.safetensors"
"""The layers' weights, where the network's are saved in its own way."""
FORMAT: Final = 1


@dataclass(frozen=True)
class VisionDescription:
    """What an image encoder is, besides its weights and layers.

    Attributes:
        backbone: URI of the library's network.
        weights: file name of the user's own weights, if there were any.
        preprocessing: of its images.
        surgery: what was done with it.
    """

    backbone: str
    weights: str | None
    preprocessing: Preprocessing
    surgery: Surgery

    def with_size(self, side: int) -> "VisionDescription":
        """For square images of this side, in pixels."""
        return replace(self, preprocessing=self.preprocessing.with_size(side))


def write_vision(embedder: Embedder, description: VisionDescription, folder: Path) -> None:
    """Write an image encoder; adapters are merged into the weights."""
    surgery = description.surgery
    library = description.backbone.partition("://")[0]
    write_settings(
        folder,
        embedder,
        {
            "kind": "vision",
            "backbone": description.backbone,
            "weights": description.weights,
            "library": {library: version(library)},
            **describe_surgery(surgery),
            "preprocessing": description.preprocessing.to_dict(),
        },
    )
    write_weights(folder, embedder)


def read_vision(settings: Mapping[str, Any]) -> VisionDescription:
    """What write_vision wrote.

    Raises:
        UnsupportedModel: it is something else.
    """
    surgery = read_surgery(settings)
    try:
        return VisionDescription(
            settings["backbone"],
            settings["weights"],
            Preprocessing.from_dict(settings["preprocessing"]),
            surgery,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_vision(error) from None


def describe_surgery(surgery: Surgery) -> dict[str, Any]:
    """It, as embedtune.json has it."""
    return {
        "cut": asdict(surgery.cut),
        "feature": {**asdict(surgery.shape), "class_token": surgery.class_token},
        "removed": list(surgery.gone),
        "removed_idle": list(surgery.idle),
        "stops_at_cut": surgery.stops,
        "unused": list(surgery.unused),
    }


def read_surgery(settings: Mapping[str, Any]) -> Surgery:
    """What describe_surgery gave, with the pooling beside it.

    Raises:
        UnsupportedModel: it is something else.
    """
    try:
        feature = dict(settings["feature"])
        class_token = bool(feature.pop("class_token"))
        return Surgery(
            Cut(**settings["cut"]),
            FeatureShape(**feature),
            tuple(settings["removed"]),
            tuple(settings["removed_idle"]),
            tuple(settings["unused"]),
            class_token,
            tuple(settings["pooling"]["modes"]),
            bool(settings["stops_at_cut"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_vision(error) from None


def _no_vision(error: Exception) -> UnsupportedModel:
    return UnsupportedModel(f"{SETTINGS}: does not describe an image encoder: {error}")


def write_text(embedder: Embedder, layout: Layout, folder: Path) -> None:
    """What sentence-transformers' layout cannot say of a text encoder, beside its network."""
    described = {
        "kind": "text",
        "max_length": layout.max_length,
        "lower_case": layout.lower_case,
        "settings": layout.settings,
    }
    write_settings(folder, embedder, described)
    write_weights(folder, embedder, network=False)


def read_text(folder: Path, *, weights: bool = True) -> tuple[Layout, Own]:
    """What write_text wrote.

    Args:
        folder: what lies there.
        weights: whether the layers get theirs.

    Raises:
        UnsupportedModel: it is something else.
    """
    settings = read_settings(folder)
    if settings.get("kind") != "text":
        raise UnsupportedModel(f"{folder.name}/{SETTINGS}: does not describe a text encoder")
    layout = Layout(
        folder,
        max_length=settings.get("max_length"),
        lower_case=bool(settings.get("lower_case")),
        settings=dict(settings.get("settings") or {}),
    )
    layers = read_weights(folder, network=False)["layers"] if weights else None
    return layout, own_of(settings, layers, "text", cls=True)


def write_settings(folder: Path, embedder: Embedder, described: Mapping[str, Any]) -> None:
    """embedtune.json: what is described, and pooling, layers and dimension."""
    layers = saved_layers(list(embedder.layers))
    pooling = embedder.pooling
    content = {
        "format": FORMAT,
        **described,
        "modality": embedder.processor.modality,
        "pooling": {"modes": list(pooling.modes), "gem": pooling.gem_options().to_dict()},
        "layers": [_layer_to_dict(layer) for layer in layers],
        "normalize": any(isinstance(layer, Normalize) for layer in layers),
        "embedding_dim": embedder.embedding_dim,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def read_settings(folder: Path) -> dict[str, Any]:
    """embedtune.json.

    Raises:
        UnsupportedModel: it is broken, or of another version.
    """
    path = folder / SETTINGS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        format_ = content["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedModel(f"{folder.name}/{SETTINGS}: cannot be read: {error}") from None
    if format_ != FORMAT:
        raise UnsupportedModel(
            f"{folder.name}/{SETTINGS}: is of format {format_}; this version reads {FORMAT}"
        )
    return dict(content)


def own_of(
    settings: Mapping[str, Any],
    layers: Mapping[str, Tensor] | None,
    kind: FeatureKind,
    *,
    cls: bool,
) -> Own:
    """Pooling and layers as they were saved.

    Args:
        settings: embedtune.json.
        layers: the layers' weights; None leaves the layers as they are when new.
        kind: of the feature.
        cls: whether the first token stands for all.

    Raises:
        UnsupportedModel: a layer that is not known, or weights that are not the layers'.
    """
    try:
        found = tuple(_layer_from_dict(layer) for layer in settings["layers"])
        if layers is not None:
            nn.ModuleList(found).load_state_dict(layers)
        return Own(
            kind,
            tuple(settings["pooling"]["modes"]),
            found,
            bool(settings["normalize"]),
            cls,
            GemOptions.parse(settings["pooling"]["gem"]),
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedModel(f"{SETTINGS}: pooling and layers are broken: {error}") from None


def write_weights(folder: Path, embedder: Embedder, *, network: bool = True) -> None:
    """The network's weights, adapters merged, and the layers'; or the layers' alone, where the
    network is saved in its own way.
    """
    parts: dict[str, Mapping[str, Tensor]] = {
        "network.": merged_state_dict(embedder.backbone.network) if network else {},
        "layers.": nn.ModuleList(saved_layers(list(embedder.layers))).state_dict(),
    }
    tensors = {
        prefix + name: tensor.detach().cpu().contiguous().clone()
        for prefix, state in parts.items()
        for name, tensor in state.items()
    }
    save_file(tensors, folder / (WEIGHTS if network else LAYERS), metadata={"format": "pt"})


def read_weights(folder: Path, *, network: bool = True) -> dict[str, dict[str, Tensor]]:
    """The tensors of `network` and `layers`, each under its own names.

    Raises:
        UnsupportedModel: the file is missing or broken.
    """
    path = folder / (WEIGHTS if network else LAYERS)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UnsupportedModel(f"{folder.name}/{path.name}: cannot be read: {error}") from error
    found: dict[str, dict[str, Tensor]] = {"network": {}, "layers": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        found.setdefault(part, {})[name] = tensor
    return found


def _layer_to_dict(layer: Layer) -> dict[str, Any]:
    kind = {"type": type(layer).__name__}
    if isinstance(layer, Dense):
        return kind | {
            "in": layer.linear.in_features,
            "out": layer.linear.out_features,
            "bias": layer.linear.bias is not None,
            "activation": layer.activation_name,
        }
    if isinstance(layer, LayerNorm):
        return kind | {"dimension": layer.norm.normalized_shape[0]}
    return dict(kind)


def _layer_from_dict(given: Mapping[str, Any]) -> Layer:
    if given["type"] == "Dense":
        return Dense(
            int(given["in"]),
            int(given["out"]),
            bias=bool(given["bias"]),
            activation=str(given["activation"]),
        )
    if given["type"] == "LayerNorm":
        return LayerNorm(int(given["dimension"]))
    if given["type"] == "Normalize":
        return Normalize()
    raise ValueError(f"a layer of type {given['type']!r}")
