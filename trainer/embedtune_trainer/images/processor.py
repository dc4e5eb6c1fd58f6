"""Between images and an encoder: decoded, sized and varied by several threads, when asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from embedtune_trainer.background import background_threads
from embedtune_trainer.embedder.processor import Indices, Processor, Ready
from embedtune_trainer.images.augment import OF_CLASSES, Augmentation, generator_of, varied
from embedtune_trainer.images.decode import decode
from embedtune_trainer.images.preprocess import fitted, normalised
from embedtune_trainer.images.preprocessing import Preprocessing
from embedtune_trainer.machine import cpu_threads
from embedtune_trainer.rows.table import Images, Items, Modality

KEPT_BYTES = 256 * 2**20
"""Memory for the decoded images of a table: 87,000 of 32 x 32 pixels, 1,300 of 256 x 256."""
PATCH = 8 * 8
"""Pixels that cost about what a text's token does."""


@dataclass
class Kept:
    """Decoded images, so that small data are decoded once and not in every epoch.

    What came first stays, since with an order that is new in each epoch, or one that goes round,
    nothing is better than that, and dropping the least recently used never finds anything.

    Attributes:
        room_bytes: what more it may hold.
    """

    room_bytes: int
    _images: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def get(self, item: int, make: Callable[[], Image.Image]) -> Image.Image:
        """The item's image; made if it is not here, and kept if there is room."""
        kept_HW3 = self._images.get(item)
        if kept_HW3 is not None:
            return Image.fromarray(kept_HW3)
        image = make()
        size = 3 * image.width * image.height
        with self._lock:
            fits = item not in self._images and size <= self.room_bytes
            if fits:
                self.room_bytes -= size
        if fits:
            self._images[item] = np.asarray(image)
        return image


@dataclass(frozen=True)
class ImageTable:
    """Encoded images, and those of them that were decoded already.

    Attributes:
        patches: of PATCH pixels, in each of them when it is of the backbone's size.
    """

    images: Images
    kept: Kept
    patches: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def lengths_N(self) -> Indices:
        """The same for each: its patches."""
        return np.full(len(self), self.patches)


@dataclass(frozen=True)
class Levels:
    """Images of the backbone's size, as bytes: a quarter of what the backbone gets.

    Attributes:
        levels_BHW3: uint8.
        preprocessing: how they become numbers.
    """

    levels_BHW3: Tensor
    preprocessing: Preprocessing

    def to(self, device: torch.device) -> Tensor:
        """(B, 3, H, W) float32 on the device."""
        return normalised(self.levels_BHW3.to(device, non_blocking=True), self.preprocessing)


class ImageProcessor(Processor):
    """A backbone's preprocessing.

    Attributes:
        preprocessing: of the backbone.
        augmentation: how items are varied when a batch has a variation; None if they are not.
    """

    modality: Modality = "image"

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        augment: bool | Augmentation = False,
        workers: int | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """`workers` threads decode (None: as many as may run at once); `kept_bytes` a table."""
        self.preprocessing = preprocessing
        self.augmentation = OF_CLASSES if augment is True else augment or None
        self._kept_bytes = kept_bytes
        self._pool = background_threads(workers or cpu_threads(), "decode")

    def table(self, items: Items) -> ImageTable:
        """Images as they are; each is decoded when a batch first asks for it."""
        if not isinstance(items, Images):
            raise TypeError(f"an image encoder cannot take items that are {items.modality}")
        height, width = self.preprocessing.size
        return ImageTable(items, Kept(self._kept_bytes), -(-height * width // PATCH))

    def ready(
        self,
        table: ImageTable,
        indices: Indices,
        variation: int | None = None,
        *,
        pinned: bool = False,
    ) -> Ready:
        """See Processor; on the device (B, 3, H, W) float32, as the backbone takes them.

        Raises:
            BadData: one of them cannot be decoded; the first in the batch's order is named.
        """
        height, width = self.preprocessing.size
        shape = (len(indices), height, width, 3)
        levels_BHW3 = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        out_BHW3 = levels_BHW3.numpy()

        def place(row: int) -> None:
            out_BHW3[row] = np.asarray(self._image(table, int(indices[row]), variation))

        for _ in self._pool.map(place, range(len(indices))):
            pass
        return Levels(levels_BHW3, self.preprocessing)

    def preprocessing_of(self, image: Image.Image) -> Preprocessing:  # noqa: ARG002  all alike here
        """How this decoded image is prepared."""
        return self.preprocessing

    def _image(self, table: ImageTable, item: int, variation: int | None) -> Image.Image:
        """One item of the backbone's size."""
        value, name = table.images.values[item], table.images.names[item]
        at_least = self.preprocessing.at_least
        image = table.kept.get(item, lambda: decode(value, name, at_least=at_least))
        how = self.preprocessing_of(image)
        if self.augmentation is None or variation is None:
            return fitted(image, how)
        return varied(image, how, self.augmentation, generator_of(variation, item))
