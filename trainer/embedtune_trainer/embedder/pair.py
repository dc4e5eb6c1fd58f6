"""A text and an image encoder of one space, trained together and saved each as a model of its own.

A saved pair is a folder with text/, image/ and pair.json, which has the temperature. Where
sentence-transformers reads both, it reads the folder as one model of texts and images. Of a
CLIP-like checkpoint that kept its projections, clip/ is the whole again as transformers has it.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from embedtune_api.spec import Encoder, Model
from embedtune_trainer.embedder.clip import PAIR, clip_image, clip_text, is_pair_folder, load_clip
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.layout import MODULES, write_router
from embedtune_trainer.embedder.load import NOTHING_LEFT, load_folder, trainable
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.open_clip import as_transformers
from embedtune_trainer.embedder.pair_spec import Tower, check_one_space, split_encoder
from embedtune_trainer.embedder.whole_clip import WholeClip, can_be_whole
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.sources.fetch import Fetched

__all__ = ["TextImagePair", "build_pair", "is_pair_folder", "load_encoders", "load_pair"]

TEXT: Final = "text"
IMAGE: Final = "image"
WHOLE: Final = "clip"
TEXT_PATH: Final = "text_model"
IMAGE_PATH: Final = "vision_model"
"""What the paths of modules begin with, as in the checkpoints."""
FORMAT: Final = 1
FIRST_TEMPERATURE: Final = 0.07
"""What cosines are divided by at first (Radford et al. 2021, section 2.5)."""


class TextImagePair(nn.Module):
    """Two encoders whose embeddings are compared, and the temperature of their similarities.

    Attributes:
        text: of texts.
        image: of images.
        log_scale: scalar; similarities are multiplied by its exponential.
        bias: scalar that is added to them (SigLIP); None where there is none.
    """

    def __init__(
        self,
        text: Embedder,
        image: Embedder,
        *,
        log_scale: float,
        bias: float | None = None,
        write_whole: Callable[["TextImagePair", Path], None] | None = None,
    ) -> None:
        """`write_whole` saves both in one checkpoint, where they came from one.

        Raises:
            BadSpec: their embeddings differ in dimension, or nothing is left to train.
        """
        super().__init__()
        check_one_space(text.embedding_dim, image.embedding_dim)
        self.text = text
        self.image = image
        if not any(p.requires_grad for p in self.parameters()):
            raise BadSpec(NOTHING_LEFT)
        self.log_scale = nn.Parameter(torch.tensor(log_scale))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(bias))
        self._write_whole = write_whole

    @property
    def embedding_dim(self) -> int:
        """D of both."""
        return self.text.embedding_dim

    def similarities(self, text_BD: Tensor, image_CD: Tensor) -> Tensor:
        """(B, C): scaled, and shifted by the bias, as the checkpoint's logits_per_text."""
        logits_BC = text_BD @ image_CD.T * self.log_scale.exp()
        return logits_BC if self.bias is None else logits_BC + self.bias

    def save(self, folder: Path) -> None:
        """Write both, each as a model of its own, and what joins them."""
        folder.mkdir(parents=True, exist_ok=True)
        self.text.save(folder / TEXT)
        self.image.save(folder / IMAGE)
        content = {
            "format": FORMAT,
            "text": TEXT,
            "image": IMAGE,
            "embedding_dim": self.embedding_dim,
            "log_scale": self.log_scale.item(),
            "bias": None if self.bias is None else self.bias.item(),
        }
        (folder / PAIR).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if all((folder / side / MODULES).exists() for side in (TEXT, IMAGE)):
            write_router(folder, (TEXT, IMAGE))
        if self._write_whole is not None:
            self._write_whole(self, folder / WHOLE)


def build_pair(text: Embedder, image: Embedder) -> TextImagePair:
    """Any two encoders as a pair.

    Raises:
        BadSpec: they are no text and image encoder, or their embeddings differ in dimension.
    """
    for name, embedder in ((TEXT, text), (IMAGE, image)):
        if embedder.processor.modality != name:
            raise BadSpec(
                f"spec.model.{name}: is an encoder of {embedder.processor.modality}s, not of"
                f" {name}s"
            )
    return TextImagePair(text, image, log_scale=-math.log(FIRST_TEMPERATURE))


def load_encoders(fetched: Fetched, model: Model, seed: int) -> Encoders:
    """What spec.model.task wants of a pair's folder: both encoders, or one of them.

    Raises:
        UnsupportedModel: the folder cannot be loaded.
        BadSpec: the spec asks for what its encoders cannot do.
    """
    if model.task in ("auto", "text-to-image"):
        return Encoders.pair(load_pair(fetched, model, seed))
    return Encoders.single(load_side(fetched, model, seed))


def load_pair(fetched: Fetched, model: Model, seed: int) -> TextImagePair:
    """Both encoders of a folder, as the spec has them.

    Args:
        fetched: a checkpoint of CLIP or its kin, or a pair that was saved.
        model: with a backbone; its options are for both encoders, and the globs in them are over
            the paths of both, which begin with text_model and vision_model.
        seed: of new layers.

    Raises:
        UnsupportedModel: the folder cannot be loaded.
        BadSpec: the spec asks for what a pair cannot do.
    """
    encoder, folder = _given(fetched, model)
    refuse_own_cut(encoder)
    if (folder / PAIR).exists():
        saved = SavedPair.read(folder)
        text, image = saved.split(encoder, seed)
        return TextImagePair(
            load_folder(saved.text, text, seed),
            load_folder(saved.image, image, seed + 1),
            log_scale=saved.log_scale,
            bias=saved.bias,
        )
    with as_transformers(folder) as given:
        parts = load_clip(given, seed)
        text, image = split_pair(encoder, parts.whole.text_model, parts.whole.vision_model)
        return TextImagePair(
            clip_text(parts, text, seed),
            clip_image(parts, image, seed + 1),
            log_scale=parts.log_scale,
            bias=parts.bias,
            write_whole=WholeClip(parts) if can_be_whole(encoder) else None,
        )


def load_side(fetched: Fetched, model: Model, seed: int) -> Embedder:
    """The one encoder of a pair's folder that spec.model.task wants, as the spec has it.

    Paths in the spec are those of the pair, as for load_pair.

    Raises:
        UnsupportedModel: the folder cannot be loaded.
        BadSpec: the spec asks for what the encoder cannot do, or leaves nothing to train.
    """
    encoder, folder = _given(fetched, model)
    of_texts = model.task == "text-to-text"
    path = TEXT_PATH if of_texts else IMAGE_PATH
    encoder = encoder.model_copy(update={"cut": encoder.cut.removeprefix(f"{path}.")})
    if (folder / PAIR).exists():
        saved = SavedPair.read(folder)
        text, image = saved.split(encoder, seed)
        if of_texts:
            return trainable(load_folder(saved.text, text, seed))
        return trainable(load_folder(saved.image, image, seed))
    with as_transformers(folder) as given:
        parts = load_clip(given, seed)
        text, image = split_pair(encoder, parts.whole.text_model, parts.whole.vision_model)
        if of_texts:
            return trainable(clip_text(parts, text, seed))
        return trainable(clip_image(parts, image, seed))


@dataclass(frozen=True)
class SavedPair:
    """What pair.json says.

    Attributes:
        text: the folder of the text encoder.
        image: that of the image encoder.
        log_scale: see TextImagePair.
        bias: see TextImagePair.
    """

    text: Path
    image: Path
    log_scale: float
    bias: float | None

    @classmethod
    def read(cls, folder: Path) -> "SavedPair":
        """Of a pair's folder.

        Raises:
            UnsupportedModel: it is broken, or of another version.
        """
        try:
            settings: dict[str, Any] = json.loads((folder / PAIR).read_text(encoding="utf-8"))
            given, bias = settings["format"], settings["bias"]
            found = cls(
                folder / str(settings["text"]),
                folder / str(settings["image"]),
                float(settings["log_scale"]),
                None if bias is None else float(bias),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnsupportedModel(f"{folder.name}/{PAIR}: cannot be read: {error}") from None
        if given != FORMAT:
            raise UnsupportedModel(
                f"{folder.name}/{PAIR}: is of format {given}; this version reads {FORMAT}"
            )
        return found

    def split(self, encoder: Encoder, seed: int) -> tuple[Encoder, Encoder]:
        """The spec for each."""
        plain = Encoder(backbone=encoder.backbone)
        text, image = (
            load_folder(place, plain, seed).backbone.network for place in (self.text, self.image)
        )
        return split_pair(encoder, text, image)


def refuse_own_cut(encoder: Encoder) -> None:
    """Refuse what the projections of a pair were not trained with.

    Raises:
        BadSpec: the spec has a cut or a pooling.
    """
    for field in ("cut", "pooling"):
        if getattr(encoder, field) != "auto":
            raise BadSpec(
                f"spec.model.{field}: {encoder.backbone} has its own, which its projections were"
                " trained with; leave it at auto"
            )


def split_pair(encoder: Encoder, text: nn.Module, image: nn.Module) -> tuple[Encoder, Encoder]:
    """What the spec says of both, for the texts' network and for the images'."""
    return split_encoder(encoder, Tower.of(TEXT_PATH, text), Tower.of(IMAGE_PATH, image))


def _given(fetched: Fetched, model: Model) -> tuple[Encoder, Path]:
    encoder, folder = model.encoder, fetched.folder
    if encoder is None or folder is None or not is_pair_folder(folder):
        raise BadSpec(f"spec.model.backbone: {fetched.uri} is no pair of text and image encoders")
    return encoder, folder
