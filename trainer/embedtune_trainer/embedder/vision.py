"""Image encoders out of torchvision's and timm's networks."""

from collections.abc import Mapping
from pathlib import PurePosixPath

import torch
from torch import Tensor

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own, assemble
from embedtune_trainer.embedder.features import Backbone
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.processor import Processor
from embedtune_trainer.embedder.saved import VisionDescription, write_vision
from embedtune_trainer.embedder.surgery import CutNetwork, Examined, examine
from embedtune_trainer.embedder.timm_models import TimmModel
from embedtune_trainer.embedder.torchvision_models import TorchvisionModel
from embedtune_trainer.embedder.weights import in_order, load_strictly, read_state
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.images.preprocessing import Preprocessing
from embedtune_trainer.sources.fetch import Fetched

LibraryModel = TorchvisionModel | TimmModel


def library_model(uri: str, weights_name: str | None) -> LibraryModel:
    """The network that torchvision://NAME or timm://NAME means.

    Args:
        uri: of it.
        weights_name: file name of the user's own weights, if there are any.

    Raises:
        UnsupportedModel: the library has none of that name.
    """
    kind = TimmModel if uri.startswith("timm://") else TorchvisionModel
    return kind(uri, weights_name)


def weights_name(encoder: Encoder) -> str | None:
    """File name of the user's own weights, if there are any."""
    return PurePosixPath(encoder.weights).name if encoder.weights else None


def preprocessing_of(model: LibraryModel, encoder: Encoder) -> Preprocessing:
    """The library's, at the size that the spec asks for."""
    if encoder.image_size is None:
        return model.preprocessing
    return model.preprocessing.with_size(encoder.image_size)


def examine_for(model: LibraryModel, preprocessing: Preprocessing, encoder: Encoder) -> Examined:
    """The network, looked at with images of the size that the spec asks for.

    Raises:
        BadSpec: it cannot take them.
    """
    try:
        return examine(model, preprocessing.size)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        if encoder.image_size is None:
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadSpec(
            f"spec.model.imageSize: {encoder.backbone} cannot take {encoder.image_size} x"
            f" {encoder.image_size} pixels: {said}"
        ) from error


def load_vision_encoder(fetched: Fetched, encoder: Encoder, seed: int) -> Embedder:
    """A library's network without its head, as the spec has it.

    Args:
        fetched: with weights, a state dict, or without for the library's own.
        encoder: what the spec says.
        seed: of new layers.

    Raises:
        UnsupportedModel: no such network, or the weights are not its.
        BadSpec: the spec asks for what this network cannot do.
        StorageUnavailable: the library's weights cannot be downloaded.
    """
    model = library_model(encoder.backbone, weights_name(encoder))
    preprocessing = preprocessing_of(model, encoder)
    examined = examine_for(model, preprocessing, encoder)
    surgery = examined.decide(encoder)
    torch.manual_seed(seed)
    network = model.build(preprocessing.size)
    surgery.perform(network)
    source = fetched.uri if fetched.weights is None else fetched.weights.name
    load_strictly(network, _state(fetched, model, examined), surgery.gone, source)
    surgery = surgery.tried(examined.network, preprocessing.size)
    description = VisionDescription(encoder.backbone, weights_name(encoder), preprocessing, surgery)
    return vision_embedder(
        CutNetwork(network, surgery.ending, surgery.shape),
        Own(
            surgery.shape.kind,
            surgery.pooling,
            class_token=surgery.class_token,
        ),
        description,
        encoder,
        seed,
    )


def vision_embedder(
    backbone: Backbone, own: Own, description: VisionDescription, encoder: Encoder, seed: int
) -> Embedder:
    """The rest of the way, for a new model and for one that was saved."""
    return assemble(
        backbone,
        own,
        encoder,
        seed,
        processor=image_processor(description.preprocessing),
        write=lambda embedder, folder: write_vision(embedder, description, folder),
    )


def image_processor(preprocessing: Preprocessing) -> Processor:
    """Image files to (B, 3, Y, X)."""
    from embedtune_trainer.images.processor import ImageProcessor

    return ImageProcessor(preprocessing)


def _state(fetched: Fetched, model: LibraryModel, examined: Examined) -> Mapping[str, Tensor]:
    """The weights under the network's own names."""
    if fetched.weights is None:
        return model.fitted(model.own_weights(), examined.network)
    state: Mapping[str, Tensor] = read_state(fetched.weights)
    state = model.fitted(state, examined.network)
    wanted = examined.network.state_dict()
    if fetched.weights.suffix != ".safetensors" and not wanted.keys() & state.keys():
        return in_order(state, wanted) or state  # safetensors sorts its names
    return state
