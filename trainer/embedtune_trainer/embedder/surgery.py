"""What is done with a library's network: where it is cut, and what of it goes.

It is decided on a copy without weights, see trace.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.cut import (
    Cut,
    FeatureShape,
    cut_at,
    cut_before,
    cut_unpooled,
    feature_shape,
    removable,
    remove,
    run_to,
    unused_parameters,
)
from embedtune_trainer.embedder.features import Backbone, Feature
from embedtune_trainer.embedder.heads import Head, find_head
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
        unused: names of parameters that stay, but that the feature does not depend on.
        class_token: whether the first token stands for the whole image.
        pooling: what `pooling: auto` means.
    """

    cut: Cut
    shape: FeatureShape
    gone: tuple[str, ...]
    unused: tuple[str, ...]
    class_token: bool
    pooling: tuple[str, ...]

    def perform(self, network: nn.Module) -> None:
        """Remove what goes; freeze what is not used."""
        remove(network, self.gone, self.cut)
        for name, parameter in network.named_parameters():
            if name in self.unused:
                parameter.requires_grad_(False)


@dataclass(frozen=True)
class Examined:
    """A network that was looked at.

    Attributes:
        network: on the meta device, whole.
        run: of it, as far as its head goes.
        head: what is left out with `cut: auto`.
        surgery: what the spec makes of it.
    """

    network: nn.Module
    run: Trace
    head: Head | None
    surgery: Surgery


def examine(model: Builder, size: tuple[int, int], encoder: Encoder) -> Examined:
    """Look at a network and decide what is to be done with it.

    Args:
        model: builds the network.
        size: of its images.
        encoder: cut and pooling.

    Raises:
        BadSpec: a cut that is not there, or an image size that the network cannot take.
    """
    images = torch.empty(BATCH, 3, *size, device="meta")
    try:
        with torch.device("meta"):
            network = model.build(size)
            run = trace(network, images)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        if encoder.image_size is None:
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadSpec(
            f"spec.model.imageSize: {encoder.backbone} cannot take {size[0]} x {size[1]} pixels:"
            f" {said}"
        ) from error
    head = find_head(network, run)
    at, cut = run, None
    if encoder.cut != "auto":
        cut = cut_at(run, encoder.cut)
    elif encoder.pooling not in POOLED:
        if hasattr(network, "forward_features"):
            with torch.device("meta"):
                features = trace(network, images, "forward_features")
            if features.output is not None and features.output.ndim in (3, 4):
                at, cut = features, Cut("", "features")
        cut = cut or cut_unpooled(run, head)
    return Examined(network, run, head, _surgery(at, cut or cut_before(run, head)))


def _surgery(run: Trace, cut: Cut) -> Surgery:
    network: Any = run.network
    shape = feature_shape(run, cut)
    tokens = (getattr(network, name, None) for name in ("cls_token", "class_token"))
    class_token = shape.prefix > 0 and any(isinstance(token, Tensor) for token in tokens)
    by_class = class_token and getattr(network, "global_pool", "token") == "token"
    pooling = ("cls",) if by_class else ("mean",)
    gone = removable(run, cut)
    return Surgery(
        cut,
        shape,
        gone,
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
