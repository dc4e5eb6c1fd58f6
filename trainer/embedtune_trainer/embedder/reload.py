"""A saved image or vector encoder, rebuilt without a hub: see saved."""

from pathlib import Path

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.hub_cut import KIND as HUB_CUT
from embedtune_trainer.embedder.hub_cut import load_cut
from embedtune_trainer.embedder.mlp import mlp_embedder
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.saved import (
    SETTINGS,
    own_of,
    read_settings,
    read_vision,
    read_weights,
)
from embedtune_trainer.embedder.surgery import CutNetwork
from embedtune_trainer.embedder.vision import library_model, vision_embedder
from embedtune_trainer.embedder.weights import load_strictly
from embedtune_trainer.errors import BadSpec, UnsupportedModel


def load_saved(folder: Path, encoder: Encoder | None = None, seed: int = 0) -> Embedder:
    """A model that embeds as the one that was saved, or is trained further.

    Args:
        folder: model.safetensors and embedtune.json.
        encoder: what the spec says beside it; None for the model as it is.
        seed: of new layers.

    Raises:
        UnsupportedModel: it is broken, or another kind of model.
        BadSpec: the spec asks for what this model cannot do.
    """
    settings = read_settings(folder)
    given = encoder or Encoder(backbone=str(settings.get("backbone")))
    given = given.model_copy(update={"backbone": str(settings.get("backbone"))})
    refuse_cut(folder, given)
    state = read_weights(folder)
    kind = settings.get("kind")
    if kind == "mlp":
        return mlp_embedder(given, own_of(settings, state["layers"], "vector", cls=False), seed)
    if kind == HUB_CUT:
        return load_cut(folder, settings, state, given, seed)
    if kind != "vision":
        raise UnsupportedModel(f"{folder.name}/{SETTINGS}: {kind!r} is no kind of model known here")
    described = read_vision(settings)
    if given.image_size is not None:
        described = described.with_size(given.image_size)
    surgery = described.surgery
    model = library_model(described.backbone, described.weights)
    network = model.build(described.preprocessing.size)
    surgery.perform(network)
    load_strictly(network, model.fitted(state["network"], network), surgery.gone, folder.name)
    shape = surgery.shape
    own = own_of(settings, state["layers"], shape.kind, cls=surgery.class_token)
    backbone = CutNetwork(network, surgery.ending, shape)
    return vision_embedder(backbone, own, described, given, seed)


def refuse_cut(folder: Path, encoder: Encoder) -> None:
    """A saved network has none of what was behind its cut.

    Raises:
        BadSpec: the spec has another cut.
    """
    if encoder.cut != "auto":
        raise BadSpec(f"spec.model.cut: {folder.name} is cut already; give the original backbone")
