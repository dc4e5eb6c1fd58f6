"""The rows that a map shows, and what stands for them: titles, thumbnails."""

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.evaluation.measures import Stop
from embedtune_trainer.images.decode import decode
from embedtune_trainer.reporting.maps import ROWS, embedding_map
from embedtune_trainer.reporting.record import EmbeddingMap
from embedtune_trainer.rows.table import Images, Items, LabelledRows, PairRows, Rows, Texts

PAIRS: Final = 150
"""Most pairs of a map: their links would hide each other."""
TITLE: Final = 90
"""Characters of a row's text that are shown."""
THUMBNAIL: Final = 144
"""Pixels of a thumbnail's longer side: twice what it is shown at, for fine screens."""


@dataclass(frozen=True)
class Sample:
    """Some rows, drawn by the seed.

    Attributes:
        rows: labelled rows or pairs.
        rows_in_all: those that they were drawn from.
        seed: of the draw and of the map.
    """

    rows: Rows
    rows_in_all: int
    seed: int

    @classmethod
    def of(cls, rows: Rows, seed: int) -> "Sample":
        """At most ROWS labelled rows, or PAIRS pairs."""
        most = ROWS if isinstance(rows, LabelledRows) else PAIRS
        drawn = np.random.default_rng((seed, 0xA9)).permutation(len(rows))[:most]
        return cls(rows.take(np.sort(drawn)), len(rows), seed)

    def encode(
        self, encoders: Encoders, batch_size: int, stop: Stop = lambda: False
    ) -> NDArray[np.float32]:
        """(N, D) embeddings of length 1; of pairs all left ones, then all right ones."""
        if isinstance(self.rows, LabelledRows):
            parts = [encoders.left.encode(self.rows.items, batch_size, stop)]
        else:
            parts = [
                encoders.left.encode(self.rows.left, batch_size, stop),
                encoders.right.encode(self.rows.right, batch_size, stop),
            ]
        embedded_ND = np.concatenate([part.float().cpu().numpy() for part in parts])
        length_N1 = np.linalg.norm(embedded_ND, axis=1, keepdims=True)
        normed_ND: NDArray[np.float32] = embedded_ND / np.maximum(length_N1, 1e-12)
        return normed_ND

    def map(
        self, before_ND: NDArray[np.float32], after_ND: NDArray[np.float32]
    ) -> EmbeddingMap | None:
        """Of what `encode` gave before and after the training; None if the rows are too few."""
        rows = self.rows
        if isinstance(rows, LabelledRows):
            groups, shown = list(rows.labels), titles(rows.items)
            links = []
        else:
            groups = [side for side in _sides(rows) for _ in range(len(rows))]
            shown = titles(rows.left) + titles(rows.right)
            # a score says how alike the two are, so that not every pair belongs together
            together = len(rows) if rows.scores_N is None else 0
            links = [(i, i + len(rows)) for i in range(together)]
        return embedding_map(
            before_ND,
            after_ND,
            groups=groups,
            titles=shown,
            links=links,
            rows_in_all=self.rows_in_all,
            seed=self.seed,
        )


def titles(items: Items) -> list[str]:
    """What each item says or is called, cut to TITLE characters."""
    if isinstance(items, Texts):
        words = list(items.values)
    elif isinstance(items, Images):
        words = list(items.names)
    else:
        words = [f"row {i}" for i in range(len(items))]
    return [word if len(word) <= TITLE else word[: TITLE - 1] + "…" for word in words]


def thumbnails(items: Items, rows: set[int]) -> dict[int, bytes]:
    """JPEG of these rows; empty if they are no images.

    Raises:
        BadData: an image cannot be read.
    """
    if not isinstance(items, Images):
        return {}
    made = {}
    for row in sorted(rows):
        image = decode(items.values[row], items.names[row], at_least=THUMBNAIL)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        stream = io.BytesIO()
        image.convert("RGB").save(stream, "JPEG", quality=82)
        made[row] = stream.getvalue()
    return made


def _sides(rows: PairRows) -> tuple[str, str]:
    left, right = rows.left.modality, rows.right.modality
    return ("anchor", "positive") if left == right else (left, right)
