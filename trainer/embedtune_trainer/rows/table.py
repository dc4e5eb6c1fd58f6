"""The nouns of data: items of one modality, and rows that say what belongs together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Modality = Literal["text", "image", "vector"]


@dataclass(frozen=True)
class Texts:
    """Texts, to the last character as the file has them."""

    values: list[str]
    modality: ClassVar[Modality] = "text"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Sequence[int]) -> "Texts":
        """These, in this order."""
        return Texts([self.values[i] for i in indices])

    def identities(self) -> list[str]:
        """What is equal for equal items."""
        return self.values


@dataclass(frozen=True)
class FileSlice:
    """A file within an archive, so that the archive need not be unpacked."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True)
class Images:
    """Encoded image files on this machine or in memory, decoded when a batch asks for them.

    Attributes:
        values: each a file, a part of one, or the bytes.
        names: what messages call each: where it came from, and what stood there.
    """

    values: list[Path | FileSlice | bytes]
    names: list[str]
    modality: ClassVar[Modality] = "image"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Sequence[int]) -> "Images":
        """These, in this order."""
        return Images([self.values[i] for i in indices], [self.names[i] for i in indices])

    def identities(self) -> list[Path | FileSlice | bytes]:
        """What is equal for equal items."""
        return self.values


@dataclass(frozen=True)
class Vectors:
    """(N, D) float32, each a row."""

    values_ND: NDArray[np.float32]
    modality: ClassVar[Modality] = "vector"

    def __len__(self) -> int:
        return len(self.values_ND)

    def take(self, indices: Sequence[int]) -> "Vectors":
        """These, in this order."""
        return Vectors(self.values_ND[list(indices)])

    def identities(self) -> list[bytes]:
        """What is equal for equal items."""
        return [row.tobytes() for row in self.values_ND]


Items = Texts | Images | Vectors
AnyItems = TypeVar("AnyItems", Texts, Images, Vectors)


@dataclass(frozen=True)
class Skipped:
    """What onBadRow: skip left out."""

    count: int = 0
    first: tuple[str, ...] = ()
    """The messages of the first hundred."""


@dataclass(frozen=True)
class LabelledRows:
    """Items and the class of each, in the file's order."""

    items: Items
    labels: list[str]
    source: str
    """The URI that the user wrote."""
    skipped: Skipped = field(default=Skipped(), compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def class_sizes(self) -> Counter[str]:
        """Rows of each label."""
        return Counter(self.labels)

    @property
    def singletons(self) -> int:
        """Labels with only one row: such a row has no positive and serves as a negative."""
        return sum(size == 1 for size in self.class_sizes.values())

    def take(self, indices: Sequence[int]) -> "LabelledRows":
        """These rows, in this order."""
        return LabelledRows(
            self.items.take(indices), [self.labels[i] for i in indices], self.source
        )


@dataclass(frozen=True)
class PairRows:
    """Two items a row that belong together, or whose likeness has a score.

    Attributes:
        left: anchors; the texts, where texts are paired with images.
        right: what belongs to each.
        negatives: hard negatives of each left item, a column each, of right's modality.
        scores_N: how alike left and right are, from 0 to 1; None if they belong together.
    """

    left: Items
    right: Items
    source: str
    negatives: tuple[Items, ...] = ()
    scores_N: NDArray[np.float64] | None = None
    skipped: Skipped = field(default=Skipped(), compare=False)

    def __len__(self) -> int:
        return len(self.left)

    def take(self, indices: Sequence[int]) -> "PairRows":
        """These rows, in this order."""
        return PairRows(
            self.left.take(indices),
            self.right.take(indices),
            self.source,
            tuple(column.take(indices) for column in self.negatives),
            None if self.scores_N is None else self.scores_N[list(indices)],
        )


Rows = LabelledRows | PairRows
