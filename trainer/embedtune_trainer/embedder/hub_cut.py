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
from embedtune_trainer.embedder.trace import BATCH, Trace, trace
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
    config: Any = deepcopy(network.config)
    config._attn_implementation = "eager"
    surgery, _ = decide_cut(_bare(type(network), config), folder, how.size, encoder)
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
    surgery, config = read_surgery(settings), _config(settings)
    how = Preprocessing.from_dict(settings.get("preprocessing", {}))
    if encoder.image_size is not None:
        how = how.with_size(encoder.image_size)
    network: PreTrainedModel = network_class(type(config))(config)
    surgery.perform(network)
    load_strictly(network, state["network"], surgery.gone, folder.name)
    own = own_of(settings, dict(state["layers"]), surgery.shape.kind, cls=surgery.class_token)
    return _assembled(network, surgery, own, how, encoder, seed)


def bare_cut(settings: Mapping[str, Any]) -> tuple[PreTrainedModel, Surgery]:
    """The whole network that was cut, without weights, and what was done with it.

    Raises:
        UnsupportedModel: embedtune.json is broken.
    """
    config = _config(settings)
    config._attn_implementation = "eager"
    return _bare(network_class(type(config)), config), read_surgery(settings)


def decide_cut(
    bare: PreTrainedModel, folder: Path, size: tuple[int, int], encoder: Encoder
) -> tuple[Surgery, Trace]:
    """What the spec's cut makes of a network, and a run of the network.

    Args:
        bare: it, on the meta device.
        folder: where it comes from, for messages.
        size: height and width of the images, in pixels.
        encoder: with a cut.

    Raises:
        UnsupportedModel: a network of an unknown family.
        BadSpec: no such module, or one whose output is no feature.
    """
    family = family_of(bare, folder)
    run = followed(bare, size)
    surgery = Examined(bare, run, None, size).decide(encoder)
    shape = surgery.shape
    by_class = shape.kind == "tokens" and shape.prefix > 0 and family.class_token
    pooling = "cls" if by_class else "mean"
    modes = () if shape.kind == "vector" else (pooling,)
    return replace(surgery, class_token=by_class, pooling=modes), run


def followed(bare: PreTrainedModel, size: tuple[int, int]) -> Trace:
    """A run of a network without weights on images of this height and width."""
    config: Any = bare.config
    images = torch.empty(BATCH, config.num_channels, *size, device="meta")
    inputs: dict[str, Any] = {"pixel_values": images, **resizing(bare, size)}
    with torch.device("meta"):
        return trace(bare, inputs)


def _bare(kind: Any, config: Any) -> PreTrainedModel:  # noqa: ANN401  transformers leaves them untyped
    made: Any = built_without_weights(lambda: kind(config))
    found: PreTrainedModel = made
    return found


def _config(settings: Mapping[str, Any]) -> Any:  # noqa: ANN401  transformers leaves it untyped
    try:
        given = settings["config"]
        return CONFIG_MAPPING[given["model_type"]].from_dict(given)
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedModel(f"{SETTINGS}: does not describe a network: {error}") from None


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
