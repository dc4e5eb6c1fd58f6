"""`cut` for Hugging Face's image networks: a module's output is the feature, what follows it goes.

What is saved is no folder of transformers any more, since its networks have all of their layers:
model.safetensors has the weights that are left, and embedtune.json the configuration.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own, assemble
from embedtune_trainer.embedder.backbone import network_class
from embedtune_trainer.embedder.cut import run_to
from embedtune_trainer.embedder.features import Backbone, Feature
from embedtune_trainer.embedder.hub_vision import family_of, resizing
from embedtune_trainer.embedder.meta import built_without_weights
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.saved import (
    SETTINGS,
    describe_surgery,
    own_of,
    read_surgery,
    write_settings,
    write_weights,
)
from embedtune_trainer.embedder.surgery import Examined, Surgery
from embedtune_trainer.embedder.trace import BATCH, trace
from embedtune_trainer.embedder.weights import load_strictly
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.images.preprocessing import Preprocessing
from embedtune_trainer.images.processor import ImageProcessor

KIND: Final = "hub-cut"
"""In embedtune.json."""


class HubCutBackbone(Backbone):
    """One of transformers' image networks, run as far as its cut."""

    network: PreTrainedModel

    def __init__(
        self, network: PreTrainedModel, surgery: Surgery, options: Mapping[str, bool]
    ) -> None:
        """`options` is what the network takes besides the images."""
        super().__init__(network, surgery.shape.dim)
        self.surgery = surgery
        self._options = dict(options)

    def forward(self, inputs: Tensor) -> Feature:
        """(B, 3, Y, X) images to (B, H, Y, X), (B, T, H) or (B, H)."""
        given = {"pixel_values": inputs, **self._options}
        values = run_to(self.network, self.surgery.cut, given)
        if self.surgery.shape.channels_last:
            values = values.permute(0, 3, 1, 2)
        return Feature(values, prefix=self.surgery.shape.prefix)


def cut_embedder(
    network: PreTrainedModel, folder: Path, how: Preprocessing, encoder: Encoder, seed: int
) -> Embedder:
    """A network that is loaded already, as far as the spec's cut.

    Args:
        network: without a head; what is behind the cut is removed.
        folder: where it comes from, for messages.
        how: the preprocessing of its images.
        encoder: what the spec says.
        seed: of new layers.

    Raises:
        UnsupportedModel: a network of an unknown family.
        BadSpec: no such module, or one whose output is no feature.
    """
    surgery = _decide(network, folder, how.size, encoder)
    surgery.perform(network)
    own = Own(surgery.shape.kind, surgery.pooling, class_token=surgery.class_token)
    return _assembled(network, surgery, own, how, encoder, seed)


def load_cut(
    folder: Path,
    settings: Mapping[str, Any],
    state: Mapping[str, Mapping[str, Tensor]],
    encoder: Encoder,
    seed: int,
) -> Embedder:
    """What was saved, as the spec has it.

    Args:
        folder: its name is for messages.
        settings: embedtune.json.
        state: the weights of `network` and `layers`.
        encoder: what the spec says.
        seed: of new layers.

    Raises:
        UnsupportedModel: it is broken.
        BadSpec: the spec asks for what this model cannot do.
    """
    surgery = read_surgery(settings)
    try:
        config = CONFIG_MAPPING[settings["config"]["model_type"]].from_dict(settings["config"])
        how = Preprocessing.from_dict(settings["preprocessing"])
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedModel(
            f"{folder.name}/{SETTINGS}: does not describe an image network: {error}"
        ) from None
    if encoder.image_size is not None:
        how = how.with_size(encoder.image_size)
    network: PreTrainedModel = network_class(type(config))(config)
    surgery.perform(network)
    load_strictly(network, state["network"], surgery.gone, folder.name)
    own = own_of(settings, dict(state["layers"]), surgery.shape.kind, cls=surgery.class_token)
    return _assembled(network, surgery, own, how, encoder, seed)


def _decide(
    network: PreTrainedModel, folder: Path, size: tuple[int, int], encoder: Encoder
) -> Surgery:
    """What the cut makes of a network, told on one without weights."""
    family = family_of(network, folder)
    config: Any = deepcopy(network.config)
    config._attn_implementation = "eager"
    made = built_without_weights(lambda: type(network)(config))
    images = torch.empty(BATCH, config.num_channels, *size, device="meta")
    inputs: dict[str, Any] = {"pixel_values": images, **resizing(network, size)}
    with torch.device("meta"):
        run = trace(made, inputs)
    surgery = Examined(made, run, None, size).decide(encoder)
    shape = surgery.shape
    by_class = shape.kind == "tokens" and shape.prefix > 0 and family.class_token
    pooling = "cls" if by_class else "mean"
    modes = () if shape.kind == "vector" else (pooling,)
    return replace(surgery, class_token=by_class, pooling=modes)


def _assembled(
    network: PreTrainedModel,
    surgery: Surgery,
    own: Own,
    how: Preprocessing,
    encoder: Encoder,
    seed: int,
) -> Embedder:
    config = network.config.to_dict()

    def write(embedder: Embedder, target: Path) -> None:
        described = {
            "kind": KIND,
            "backbone": encoder.backbone,
            "config": config,
            **describe_surgery(surgery),
            "preprocessing": how.to_dict(),
        }
        write_settings(target, embedder, described)
        write_weights(target, embedder)

    return assemble(
        HubCutBackbone(network, surgery, resizing(network, how.size)),
        own,
        encoder,
        seed,
        processor=ImageProcessor(how),
        write=write,
    )
