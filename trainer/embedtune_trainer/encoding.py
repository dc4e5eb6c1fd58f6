"""From row numbers to embeddings: items prepared once, encoded in parts of like length."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedtune_trainer.batches.microbatch import cut_by_length
from embedtune_trainer.bfloat16 import pays_off
from embedtune_trainer.errors import Interrupted
from embedtune_trainer.rows.table import Items

if TYPE_CHECKING:
    from embedtune_trainer.embedder.model import Embedder

Indices = NDArray[np.int64]
PART_OVERHEAD = {"cpu": 64, "cuda": 131_072}
"""What encoding one more part of a batch costs, in tokens; see microbatch. A GPU mostly
waits for the host to start its work: on an H200 BERT-base was fastest with the fewest parts."""
PART_BUDGET = {"cpu": 4096, "cuda": 262_144}
"""Most padded tokens that are encoded at a time, or patches of 8 x 8 pixels.

A CPU is fastest with what stays near its cache: on two cores long texts take MiniLM .84 of the time
of whole batches, and images of 160 x 160 pixels MobileNetV2 .28 (bench/parts.py).
"""
AT_A_TIME: Final = 256
"""Rows that are encoded at a time, unless they are long."""
LENGTHS: Final = 256
"""Lengths that are told apart where many rows are cut; others are rounded up."""


@dataclass(frozen=True)
class Column:
    """One item of every row, prepared for its encoder.

    Attributes:
        embedder: the encoder.
        table: the items as its processor prepared them.
        item_N: which of them each row has; None if each row has the item of its own number.
    """

    embedder: "Embedder"
    table: Any
    item_N: Indices | None = None

    @classmethod
    def of(cls, items: Items, embedder: "Embedder") -> "Column":
        """A row for each item."""
        return cls(embedder, embedder.processor.table(items))

    @property
    def full_texts(self) -> int:
        """Texts as long as the longest there may be, most of them cut."""
        return int(getattr(self.table, "full", 0)) if self.item_N is None else 0


class Prepared:
    """Items that are encoded again and again, prepared once.

    Attributes:
        items: they.
    """

    def __init__(self, items: Items) -> None:
        self.items = items
        self._column: Column | None = None

    def encode(
        self, embedder: "Embedder", batch_size: int, stop: Callable[[], bool] = lambda: False
    ) -> Tensor:
        """(N, D) float32 on the CPU; see encode_rows.

        Raises:
            Interrupted: stop() was true.
        """
        known = self._column
        if known is None or known.embedder.processor is not embedder.processor:
            known = Column.of(self.items, embedder)
        elif known.embedder is not embedder:
            known = Column(embedder, known.table)
        self._column = known
        every = np.arange(len(self.items))
        return encode_rows(known, every, stop, batch_size, exact=True, to=torch.device("cpu"))


def encode_rows(
    column: Column,
    rows_R: Indices,
    stop: Callable[[], bool] = lambda: False,
    at_a_time: int = AT_A_TIME,
    *,
    exact: bool = False,
    to: torch.device | None = None,
) -> Tensor:
    """(R, D) float32 embeddings of many rows in their order, in evaluation mode, no gradient.

    Rows of like length are encoded together, the longest first.

    Args:
        column: of which.
        rows_R: row numbers.
        stop: asked now and then; when it says so, it ends early.
        at_a_time: most rows that are encoded together.
        exact: in float32 also where bfloat16 is faster.
        to: where the embeddings go; None: they stay with the encoder.

    Raises:
        Interrupted: stop() was true.
    """
    embedder = column.embedder
    device = embedder.device
    item_R = rows_R if column.item_N is None else column.item_N[rows_R]
    parts = _parts(column.table.lengths_N[item_R], device.type)
    out_RD = torch.empty((len(rows_R), embedder.embedding_dim), device=to or device)
    was_training = embedder.training
    embedder.eval()
    try:
        with torch.inference_mode(), nullcontext() if exact else _fast(embedder):
            for part in parts:
                for begin in range(0, len(part), at_a_time):
                    if stop():
                        raise Interrupted("stopped while encoding")
                    at_B = part[begin : begin + at_a_time]
                    inputs = embedder.processor.batch(column.table, item_R[at_B], device)
                    place_B = torch.from_numpy(at_B).to(out_RD.device)
                    out_RD[place_B] = embedder(inputs).float().to(out_RD.device)
    finally:
        embedder.train(was_training)
    return out_RD


def _parts(length_R: Indices, device: str) -> list[Indices]:
    """Positions, cut by their lengths, the longest first. Cutting is fast for few lengths."""
    if not len(length_R):
        return []
    step = int(length_R.max()) // LENGTHS + 1
    rounded_R = -(-length_R // step) * step
    return cut_by_length(rounded_R, PART_OVERHEAD[device], PART_BUDGET[device])[::-1]


def _fast(embedder: "Embedder") -> AbstractContextManager[None]:
    """In bfloat16 where that is faster."""
    device = embedder.device
    return torch.autocast(device.type, torch.bfloat16, enabled=pays_off(embedder, device))
