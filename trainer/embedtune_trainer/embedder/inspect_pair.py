"""Folders of two encoders, a CLIP's or a pair that was saved, each looked at by its configuration.

What the spec says is split between the halves as it is in pair.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from embedtune_api.spec import Encoder, Model
from embedtune_trainer.embedder.analysis import Analysis
from embedtune_trainer.embedder.assemble import Own
from embedtune_trainer.embedder.backbone import read_config
from embedtune_trainer.embedder.clip import PAIR, clip_family, projection_of
from embedtune_trainer.embedder.clip_families import CLIP_FAMILIES
from embedtune_trainer.embedder.inspect_backbone import inspect_any_folder, saved_network
from embedtune_trainer.embedder.inspect_folder import (
    built,
    image_encoder,
    siglip_text,
    text_encoder,
)
from embedtune_trainer.embedder.layers import Normalize
from embedtune_trainer.embedder.layout import Layout
from embedtune_trainer.embedder.open_clip import config_of, is_open_clip
from embedtune_trainer.embedder.pair import (
    IMAGE_PATH,
    TEXT_PATH,
    SavedPair,
    refuse_own_cut,
    split_pair,
)
from embedtune_trainer.errors import BadSpec

PATHS = {"text": TEXT_PATH, "image": IMAGE_PATH}
SIDES = {"text-to-text": ("text",), "image-to-image": ("image",)}
"""Which of the encoders a task takes; all others take both."""

Side = Callable[[Encoder], Analysis]


def inspect_pair(folder: Path, model: Model) -> dict[str, Analysis]:
    """The encoders of a folder that spec.model.task wants: text, image, or both.

    Args:
        folder: configurations of a CLIP-like checkpoint, or of a saved pair; no weights needed.
        model: with a backbone; the paths in it are those of the pair.

    Raises:
        UnsupportedModel: it cannot be taken apart.
        BadSpec: the spec asks for what its encoders cannot do.
    """
    encoder = model.encoder
    if encoder is None:
        raise BadSpec("spec.model: has no backbone, of which two encoders could be made")
    sides = SIDES.get(model.task, ("text", "image"))
    if len(sides) == 2:
        refuse_own_cut(encoder)
    elif encoder.cut != "auto":
        own = encoder.cut.removeprefix(f"{PATHS[sides[0]]}.")
        encoder = encoder.model_copy(update={"cut": own})
    look = _saved if (folder / PAIR).exists() else _clip
    encoders, looks = look(folder, encoder)
    found = {side: looks[side](encoders[side]) for side in sides}
    if len(sides) == 2:
        return {side: analysis.without_cuts() for side, analysis in found.items()}
    return found


def _clip(folder: Path, encoder: Encoder) -> tuple[dict[str, Encoder], dict[str, Side]]:
    """What each encoder is told, and how it is looked at."""
    if is_open_clip(folder):
        family, config = CLIP_FAMILIES["clip"], config_of(folder)
    else:
        family, config = clip_family(folder), read_config(folder)
    whole: Any = built(config)
    images: Side = partial(_image, whole, folder, projected=family.projected)
    texts: Side = partial(_text, whole, folder, family.text)
    told = split_pair(encoder, whole.text_model, whole.vision_model)
    return dict(zip(PATHS, told, strict=True)), {"text": texts, "image": images}


def _text(whole: Any, folder: Path, pooling: str, encoder: Encoder) -> Analysis:  # noqa: ANN401
    """As clip.clip_text makes it."""
    if pooling == "padded":
        return siglip_text(whole.text_model, Own("vector", (), (), True), encoder, TEXT_PATH)
    layers = (projection_of(whole.text_projection), Normalize())
    layout = Layout(folder, pooling=(pooling,), layers=layers, normalize=True)
    return text_encoder(whole.text_model, layout, encoder, under=TEXT_PATH)


def _image(whole: Any, folder: Path, encoder: Encoder, *, projected: bool) -> Analysis:  # noqa: ANN401
    """As clip.clip_image makes it."""
    layers = (projection_of(whole.visual_projection),) if projected else ()
    return image_encoder(whole.vision_model, folder, encoder, layers, under=IMAGE_PATH)


def _saved(folder: Path, encoder: Encoder) -> tuple[dict[str, Encoder], dict[str, Side]]:
    saved = SavedPair.read(folder)
    told = split_pair(encoder, saved_network(saved.text), saved_network(saved.image))
    looks: dict[str, Side] = {
        "text": partial(inspect_any_folder, saved.text, under=TEXT_PATH),
        "image": partial(inspect_any_folder, saved.image, under=IMAGE_PATH),
    }
    return dict(zip(PATHS, told, strict=True)), looks
