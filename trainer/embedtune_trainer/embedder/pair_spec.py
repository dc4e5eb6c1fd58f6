"""One spec for a pair's two encoders: which of its globs mean the texts' half, which the images'.

The paths are those of the whole checkpoint, so they begin with text_model or vision_model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.freeze import FIELD, WHOLE, no_match
from embedtune_trainer.embedder.lora import FIELD as LORA_FIELD
from embedtune_trainer.errors import BadSpec


@dataclass(frozen=True)
class Tower:
    """The network of one encoder.

    Attributes:
        name: what the paths of its modules begin with.
        paths: of its modules, its own first.
        linear: those of them that can have an adapter.
    """

    name: str
    paths: tuple[str, ...]
    linear: tuple[str, ...]

    @classmethod
    def of(cls, name: str, network: nn.Module) -> "Tower":
        """Under this name."""
        found = {f"{name}.{path}".rstrip("."): module for path, module in network.named_modules()}
        linear = [path for path, module in found.items() if isinstance(module, nn.Linear)]
        return cls(name, tuple(found), tuple(linear))


def check_one_space(text_dim: int, image_dim: int) -> None:
    """Refuse two encoders whose embeddings differ in dimension.

    Raises:
        BadSpec: they do.
    """
    if text_dim != image_dim:
        raise BadSpec(
            f"spec.model.text gives {text_dim} dimensions, and spec.model.image {image_dim}:"
            " bring them to one space by projection.dim in either"
        )


def split_encoder(encoder: Encoder, text: Tower, image: Tower) -> tuple[Encoder, Encoder]:
    """What each encoder is told.

    Args:
        encoder: freeze, freezeAllBut and lora.targets are over the paths of both.
        text: the texts' half.
        image: the images' half.

    Returns:
        The texts' and the images', with globs over their own paths.

    Raises:
        BadSpec: a glob matches nothing in either.
    """
    paths = text.paths + image.paths
    _check(FIELD, [g for g in encoder.freeze if g != WHOLE], paths)
    _check(f"{FIELD}AllBut", encoder.freeze_all_but, paths)
    _check(LORA_FIELD, encoder.lora.targets if encoder.lora else (), paths)
    return (
        _one(encoder, text).model_copy(update={"image_size": None}),
        _one(encoder, image).model_copy(update={"max_seq_length": None}),
    )


def _one(encoder: Encoder, tower: Tower) -> Encoder:
    frozen = WHOLE in encoder.freeze
    freeze = _matched(encoder.freeze, tower.paths)
    kept = _matched(encoder.freeze_all_but, tower.paths)
    targets: list[str] = []
    if encoder.lora is not None and encoder.lora.targets:
        targets = [p for p in tower.linear if _matched(encoder.lora.targets, _and_above(p))]
        frozen = frozen or not targets
    if tower.name in freeze or (encoder.freeze_all_but and not kept):
        frozen = True
    if frozen:
        nothing = {"freeze": (WHOLE,), "freeze_all_but": (), "lora": None}
        return encoder.model_copy(update=nothing)
    lora = encoder.lora
    if lora is not None:
        lora = lora.model_copy(update={"targets": _inside(targets, tower)})
    all_but = () if tower.name in kept else _inside(kept, tower)
    changed = {"freeze": _inside(freeze, tower), "freeze_all_but": all_but, "lora": lora}
    return encoder.model_copy(update=changed)


def _matched(globs: Sequence[str], paths: Sequence[str]) -> list[str]:
    return [path for path in paths if any(fnmatchcase(path, glob) for glob in globs)]


def _inside(paths: Sequence[str], tower: Tower) -> tuple[str, ...]:
    return tuple(path.removeprefix(f"{tower.name}.") for path in paths)


def _and_above(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _check(field: str, globs: Sequence[str], paths: Sequence[str]) -> None:
    for glob in globs:
        if not _matched([glob], paths):
            raise BadSpec(no_match(field, glob, paths))
