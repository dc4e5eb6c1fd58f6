"""What is done with a library's network: where it is cut, and what of it goes.

It is decided on a copy without weights, see trace.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.cut import (
    PARTS,
    Cut,
    FeatureShape,
    cut_at,
    cut_before,
    cut_unpooled,
    ends_at,
    feature_shape,
    is_unpooled,
    removable,
    remove,
    run_to,
    unused_parameters,
)
from embedtune_trainer.embedder.features import Backbone, Feature
from embedtune_trainer.embedder.freeze import above
from embedtune_trainer.embedder.heads import Head, find_head
from embedtune_trainer.embedder.meta import built_without_weights
from embedtune_trainer.embedder.trace import BATCH, Trace, trace
from embedtune_trainer.errors import BadSpec

POOLED = ("auto", "none")
"""With these poolings, `cut: auto` is the vector that goes into the head."""


class Builder(Protocol):
    """A library's network by name."""

    def build(self, size: tuple[int, int]) -> nn.Module:
        """It with random weights for images of this height and width, on the default device."""


@dataclass(frozen=True)
class Surgery:
    """What is done with a network.

    Attributes:
        cut: where its feature is.
        shape: of the feature.
        gone: paths of the modules that are removed.
        idle: which of them only run in training.
        unused: names of parameters that stay, but that the feature does not depend on.
        class_token: whether the first token stands for the whole image.
        pooling: what `pooling: auto` means.
        stops: whether the network has to be stopped at the cut; else it ends there of itself.
    """

    cut: Cut
    shape: FeatureShape
    gone: tuple[str, ...]
    idle: tuple[str, ...]
    unused: tuple[str, ...]
    class_token: bool
    pooling: tuple[str, ...]
    stops: bool = True

    @property
    def ending(self) -> Cut:
        """How far the network is run, once it has been operated on."""
        return self.cut if self.stops else Cut("", "output")

    def tried(self, network: nn.Module, size: tuple[int, int]) -> "Surgery":
        """It, with `stops` as it turns out on a network on the meta device, which is cut."""
        self.perform(network)
        with torch.device("meta"):
            ends = ends_at(network.eval(), self.cut, torch.empty(BATCH, 3, *size))
        return replace(self, stops=not ends)

    def perform(self, network: nn.Module) -> None:
        """Remove what goes; freeze what is not used."""
        remove(network, self.gone, self.idle)
        for name, parameter in network.named_parameters():
            if name in self.unused:
                parameter.requires_grad_(False)


@dataclass(frozen=True)
class Examined:
    """A network that was looked at.

    Attributes:
        network: on the meta device, whole.
        run: of it.
        head: what is left out with `cut: auto`.
        size: height and width of the images.
    """

    network: nn.Module
    run: Trace
    head: Head | None
    size: tuple[int, int]

    def decide(self, encoder: Encoder) -> Surgery:
        """What the spec's cut and pooling make of it.

        Raises:
            BadSpec: a cut that is not there.
        """
        if encoder.cut != "auto":
            return _surgery(self.run, cut_at(self.run, encoder.cut))
        if encoder.pooling not in POOLED:
            features = self._part("features")
            if isinstance(features.result if features else None, list | tuple):
                raise BadSpec(
                    f"spec.model.pooling: {encoder.backbone} gives several maps of places; leave"
                    " pooling at auto, or name one in spec.model.cut"
                )
            if (
                features
                and features.output is not None
                and is_unpooled(tuple(features.output.shape))
            ):
                return _surgery(features, Cut("", "features"))
            if cut := cut_unpooled(self.run, self.head):
                return _surgery(self.run, cut)
        return self._vector()

    def _vector(self) -> Surgery:
        """What goes into the head, as one vector if there is such a thing."""
        if self.head is None or self.head.alone:
            found = _surgery(self.run, cut_before(self.run, self.head))
            if found.shape.kind == "vector":
                return found
        logits = self._part("pre_logits")
        if logits and isinstance(logits.result, Tensor) and logits.result.ndim == 2:
            return _surgery(logits, Cut("", "pre_logits"))
        return _surgery(self.run, cut_before(self.run, self.head))

    def _part(self, name: Literal["features", "pre_logits"]) -> Trace | None:
        """A run of a part of the network; None if it has no such part."""
        if not hasattr(self.network, "forward_head"):
            return None
        images = torch.empty(BATCH, 3, *self.size, device="meta")
        with torch.device("meta"):
            try:
                return trace(self.network, images, partial(PARTS[name], self.network))
            except (NotImplementedError, TypeError, AttributeError):
                return None


def examine(model: Builder, size: tuple[int, int]) -> Examined:
    """Look at a network.

    Args:
        model: builds the network.
        size: of its images.

    Raises:
        AssertionError, RuntimeError, TypeError, ValueError: it cannot take images of this size.
    """
    network = built_without_weights(lambda: model.build(size))
    with torch.device("meta"):
        run = trace(network, torch.empty(BATCH, 3, *size))
    return Examined(network, run, find_head(network, run), size)


def _surgery(run: Trace, cut: Cut) -> Surgery:
    network: Any = run.network
    shape = feature_shape(run, cut)
    tokens = (getattr(network, name, None) for name in ("cls_token", "class_token"))
    class_token = shape.prefix > 0 and any(isinstance(token, Tensor) for token in tokens)
    by_class = class_token and getattr(network, "global_pool", "token") == "token"
    pooling = ("cls",) if by_class else ("mean",)
    gone = removable(run, cut)
    ran = {call.path for call in run.calls}
    ran |= {up for path in ran for up in above(path)}
    return Surgery(
        cut,
        shape,
        gone,
        tuple(path for path in gone if path not in ran),
        unused_parameters(run, cut, gone),
        class_token,
        () if shape.kind == "vector" else pooling,
    )


class CutNetwork(Backbone):
    """A network that is run as far as its cut."""

    def __init__(self, network: nn.Module, cut: Cut, shape: FeatureShape) -> None:
        super().__init__(network, shape.dim)
        self.cut = cut
        self.shape = shape

    def forward(self, inputs: Tensor) -> Feature:
        """(B, 3, Y, X) images to (B, H, Y, X), (B, T, H) or (B, H)."""
        values = run_to(self.network, self.cut, inputs)
        if self.shape.channels_last:
            values = values.permute(0, 3, 1, 2)
        return Feature(values, prefix=self.shape.prefix)
