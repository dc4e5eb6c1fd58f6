"""What is trained: one encoder for all items, or one for each side of a pair."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from embedtune_trainer.embedder.model import Embedder


class Pair(Protocol):
    """A text and an image encoder of one space."""

    text: Embedder
    image: Embedder
    log_scale: nn.Parameter
    bias: nn.Parameter | None

    def save(self, folder: Path) -> None:
        """Write both and what joins them."""


@dataclass(frozen=True)
class Encoders:
    """The encoder of each side, which may be the same.

    Attributes:
        left: of labelled items, anchors, texts.
        right: of positives, images.
        module: all that is trained.
        write: saves it into a folder.
        log_scale: a pair's learnable temperature, see objectives.ranking.
        bias: a pair's learnable bias, see objectives.siglip; None if it has none.
    """

    left: Embedder
    right: Embedder
    module: nn.Module
    write: Callable[[Path], None]
    log_scale: nn.Parameter | None = None
    bias: nn.Parameter | None = None

    @classmethod
    def single(cls, embedder: Embedder) -> "Encoders":
        """One for both sides."""
        return cls(embedder, embedder, embedder, embedder.save)

    @classmethod
    def pair(cls, pair: Pair) -> "Encoders":
        """Texts on the left, images on the right."""
        if not isinstance(pair, nn.Module):
            raise TypeError("a pair of encoders is a module")
        return cls(pair.text, pair.image, pair, pair.save, pair.log_scale, pair.bias)

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.left.embedding_dim

    def save(self, folder: Path) -> None:
        """Write what was trained."""
        self.write(folder)
