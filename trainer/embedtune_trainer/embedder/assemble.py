"""A backbone and what the spec asks for become an embedding model; the same for every kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.features import Backbone, FeatureKind
from embedtune_trainer.embedder.freeze import freeze_backbone
from embedtune_trainer.embedder.gem import GemOptions
from embedtune_trainer.embedder.layers import Dense, Layer, Normalize, new_projection
from embedtune_trainer.embedder.lora import add_adapters
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.pooling import Pooling, choose_pooling
from embedtune_trainer.embedder.processor import Processor
from embedtune_trainer.errors import BadSpec


@dataclass(frozen=True)
class Own:
    """What a backbone's folder or library says of the way from its feature to the embedding.

    Attributes:
        kind: of the feature.
        pooling: what `pooling: auto` means, as Pooling takes it.
        layers: what stands behind the pooling unless the spec has a projection.
        normalize: what `normalize` is unless the spec says; None if the folder says nothing.
        class_token: whether the first token stands for all of them.
        gem: GeM's options, if that is its pooling.
    """

    kind: FeatureKind
    pooling: tuple[str, ...]
    layers: tuple[Layer, ...] = ()
    normalize: bool | None = None
    class_token: bool = True
    gem: GemOptions | None = None


def assemble(
    backbone: Backbone,
    own: Own,
    encoder: Encoder,
    seed: int,
    *,
    processor: Processor,
    write: Callable[[Embedder, Path], None],
) -> Embedder:
    """Pooling, projection, normalisation, frozen modules and adapters, as the spec has them.

    Raises:
        BadSpec: the spec asks for what this backbone cannot do.
    """
    built = build_parts(backbone, own, encoder, seed)
    return Embedder(
        backbone,
        built.pooling,
        built.layers,
        processor,
        embedding_dim=built.embedding_dim,
        frozen=built.frozen,
        write=write,
    ).eval()


@dataclass(frozen=True)
class Parts:
    """What the spec makes of a backbone.

    Attributes:
        backbone: with its modules frozen and its adapters.
        pooling: of its feature.
        layers: behind it.
        embedding_dim: D.
        frozen: see Embedder.
    """

    backbone: Backbone
    pooling: Pooling
    layers: Sequence[nn.Module]
    embedding_dim: int
    frozen: tuple[str, ...]


def build_parts(backbone: Backbone, own: Own, encoder: Encoder, seed: int) -> Parts:
    """New pooling and layers; the backbone's network is frozen and adapted in place.

    Raises:
        BadSpec: the spec asks for what this backbone cannot do.
    """
    pooling = choose_pooling(
        encoder, own.kind, Pooling(own.pooling, own.gem), class_token=own.class_token
    )
    pooled = backbone.feature_dim * max(len(pooling.modes), 1)
    layers = _layers(own, encoder, pooled, seed)
    frozen = freeze_backbone(backbone.network, encoder)
    if encoder.lora is not None:
        frozen = add_adapters(backbone.network, encoder.lora, frozen, seed)
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    dim = dense[-1].linear.out_features if dense else pooled
    return Parts(backbone, pooling, layers, dim, frozen)


def _layers(own: Own, encoder: Encoder, pooled: int, seed: int) -> Sequence[nn.Module]:
    """What stands behind the pooling; a projection takes the place of the folder's own layers."""
    layers: list[nn.Module] = list(own.layers)
    if encoder.projection is not None:
        layers = list(new_projection(pooled, encoder.projection, seed))
    while layers and isinstance(layers[-1], Normalize):
        layers.pop()
    width = pooled
    for layer in layers:
        if isinstance(layer, Dense):
            if encoder.projection is None and layer.linear.in_features != width:
                raise BadSpec(
                    f"spec.model.pooling: gives {width} numbers, but the backbone's own linear"
                    f" layer takes {layer.linear.in_features}; leave pooling at auto, or set"
                    " spec.model.projection, which takes that layer's place"
                )
            width = layer.linear.out_features
    said = own.normalize if encoder.normalize is None else encoder.normalize
    return [*layers, Normalize()] if said in (True, None) else layers
