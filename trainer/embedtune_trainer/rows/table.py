"""The nouns of data: items of one modality, and rows that say what belongs together.

What the rows hold lies in arrays outside Python's heap, and in files that are mapped where it is
large (`columns`), so that a table may be larger than the memory; any row can be had at any time.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.rows.columns.blobs import PackedTexts
from embedtune_trainer.rows.columns.column import AT_ONCE, Chosen, chosen
from embedtune_trainer.rows.columns.growing import Growing
from embedtune_trainer.rows.columns.identity import Identities, digests, digests_of_images
from embedtune_trainer.rows.columns.labels import Labels
from embedtune_trainer.rows.columns.pictures import FileSlice, Image, PackedImages

__all__ = [
    "AnyItems",
    "FileSlice",
    "Images",
    "Items",
    "LabelledRows",
    "Modality",
    "PairRows",
    "Rows",
    "Skipped",
    "Texts",
    "Vectors",
]

Modality = Literal["text", "image", "vector"]


@dataclass(frozen=True, init=False)
class Texts:
    """Texts, to the last character as the file has them."""

    values: PackedTexts
    modality: ClassVar[Modality] = "text"

    def __init__(self, values: Iterable[str]) -> None:
        object.__setattr__(self, "values", PackedTexts.of(values))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Chosen) -> "Texts":
        """These, in this order."""
        return _with_identities(self, Texts(self.values.take(indices)), indices)

    @cached_property
    def identities_N2(self) -> Identities:
        """What is equal for equal texts and for no others; see columns.identity."""
        return digests(len(self), self.values.blobs.many)


@dataclass(frozen=True, init=False)
class Images:
    """Encoded image files on this machine or in memory, decoded when a batch asks for them.

    Attributes:
        values: each a file, a part of one, or the bytes.
        names: what messages call each: where it came from, and what stood there.
    """

    values: PackedImages
    names: PackedTexts
    modality: ClassVar[Modality] = "image"

    def __init__(self, values: Iterable[Image], names: Iterable[str]) -> None:
        object.__setattr__(self, "values", PackedImages.of(values))
        object.__setattr__(self, "names", PackedTexts.of(names))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Chosen) -> "Images":
        """These, in this order."""
        taken = Images(self.values.take(indices), self.names.take(indices))
        return _with_identities(self, taken, indices)

    @cached_property
    def identities_N2(self) -> Identities:
        """What is equal for images of the same bytes, wherever they lie, and for no others.

        Raises:
            BadData: an image cannot be read.
        """
        return digests_of_images(self.values, self.names)


@dataclass(frozen=True)
class Vectors:
    """(N, D) float32, each a row.

    Attributes:
        scratch: the folder for what is made of them and large.
    """

    values_ND: NDArray[np.float32]
    scratch: Path | None = field(default=None, compare=False)
    modality: ClassVar[Modality] = "vector"

    def __len__(self) -> int:
        return len(self.values_ND)

    def take(self, indices: Chosen) -> "Vectors":
        """These, in this order."""
        at = chosen(indices)
        taken = Growing(np.float32, self.scratch)
        for begin in range(0, len(at), AT_ONCE):
            taken.extend(self.values_ND[at[begin : begin + AT_ONCE]])
        values_ND = taken.finish().reshape(len(at), self.values_ND.shape[1])
        return _with_identities(self, Vectors(values_ND, self.scratch), indices)

    @cached_property
    def identities_N2(self) -> Identities:
        """What is equal for equal vectors and for no others; see columns.identity."""
        return digests(len(self), lambda a, b: [row.tobytes() for row in self.values_ND[a:b]])


Items = Texts | Images | Vectors
AnyItems = TypeVar("AnyItems", Texts, Images, Vectors)


def _with_identities(whole: AnyItems, part: AnyItems, indices: Chosen) -> AnyItems:
    """The part, which need not find out again what is known of the whole."""
    if "identities_N2" in vars(whole):
        vars(part)["identities_N2"] = whole.identities_N2[chosen(indices)]
    return part


@dataclass(frozen=True)
class Skipped:
    """What onBadRow: skip left out of a file; rows taken of a table still tell it."""

    count: int = 0
    first: tuple[str, ...] = ()
    """The messages of the first hundred."""

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, init=False)
class LabelledRows:
    """Items and the class of each, in the file's order.

    Attributes:
        source: the URI that the user wrote.
    """

    items: Items
    labels: Labels
    source: str
    skipped: Skipped = field(compare=False)

    def __init__(
        self, items: Items, labels: Iterable[str], source: str, skipped: Skipped = Skipped()
    ) -> None:
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "labels", Labels.of(labels))
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "skipped", skipped)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def class_sizes(self) -> Counter[str]:
        """Rows of each label."""
        return self.labels.sizes()

    @property
    def singletons(self) -> int:
        """Labels with only one row: such a row has no positive and serves as a negative."""
        return sum(size == 1 for size in self.class_sizes.values())

    def take(self, indices: Chosen) -> "LabelledRows":
        """These rows, in this order."""
        items, labels = self.items.take(indices), self.labels.take(indices)
        return LabelledRows(items, labels, self.source, self.skipped)


@dataclass(frozen=True)
class PairRows:
    """Two items a row that belong together, or whose likeness has a score.

    With a hard negative, the score says how much more alike left is to right than to that.

    Attributes:
        left: anchors; the texts, where texts are paired with images.
        right: what belongs to each.
        negatives: hard negatives of each left item, a column each, of right's modality.
        scores_N: how alike left and right are, from 0 to 1; None if they belong together.
        margins_N: by how much a teacher's score of left and right is above that of left and the
            one column of negatives; None if nothing says so.
    """

    left: Items
    right: Items
    source: str
    negatives: tuple[Items, ...] = ()
    scores_N: NDArray[np.float64] | None = None
    skipped: Skipped = field(default=Skipped(), compare=False)
    margins_N: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.left)

    def take(self, indices: Chosen) -> "PairRows":
        """These rows, in this order."""
        return PairRows(
            self.left.take(indices),
            self.right.take(indices),
            self.source,
            tuple(column.take(indices) for column in self.negatives),
            None if self.scores_N is None else self.scores_N[chosen(indices)],
            self.skipped,
            None if self.margins_N is None else self.margins_N[chosen(indices)],
        )


Rows = LabelledRows | PairRows
