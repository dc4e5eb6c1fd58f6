"""What stands between items and an encoder: all of them prepared once, batches when needed."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from embedtune_trainer.rows.table import Items, Modality

Indices = NDArray[np.int64]


class Table(Protocol):
    """Prepared items: texts as token numbers, images as what is to be decoded."""

    def __len__(self) -> int: ...

    @property
    def lengths_N(self) -> Indices:
        """What encoding each costs: tokens of a text, patches of an image, 1 for a vector."""


class Ready(Protocol):
    """A batch's inputs in the host's memory, or on a device already."""

    def to(self, device: torch.device) -> Any:  # noqa: ANN401  what the backbone takes
        """The inputs on the device; what is there already stays."""


class Processor(Protocol):
    """Items of one modality to the inputs of one encoder."""

    modality: Modality
    """What it takes."""

    def table(self, items: Items) -> Any:  # noqa: ANN401  each processor has its own Table
        """Prepare items, a Table."""

    def ready(
        self,
        table: Any,  # noqa: ANN401  as `table` gives
        indices: Indices,
        variation: int | None = None,
        *,
        pinned: bool = False,
    ) -> Ready:
        """The inputs of these items, all done but for the device.

        Args:
            table: of this processor.
            indices: which.
            variation: what their augmentation is drawn from, together with each item's number;
                None for items as they are.
            pinned: in memory that a GPU copies from by itself.
        """

    def batch(
        self,
        table: Any,  # noqa: ANN401  as `table` gives
        indices: Indices,
        device: torch.device,
        variation: int | None = None,
    ) -> Any:  # noqa: ANN401  what the backbone takes
        """The inputs of these items on the device; see `ready`."""
        return self.ready(table, indices, variation, pinned=device.type == "cuda").to(device)
