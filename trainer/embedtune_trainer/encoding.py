"""From row numbers to embeddings: items prepared once, encoded in parts of like length."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedtune_trainer.batches.microbatch import cut_by_length
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import Interrupted
from embedtune_trainer.rows.table import Items

Indices = NDArray[np.int64]
Part = tuple[Indices, Any]
"""Positions in a batch, and their inputs."""
PART_OVERHEAD = {"cpu": 64, "cuda": 4096}
"""What encoding one more part of a batch costs, in tokens; see microbatch."""
PART_BUDGET = 65536
"""Most padded tokens that are encoded at a time."""
AT_A_TIME: Final = 256
"""Rows that `encode_rows` prepares at a time."""


@dataclass(frozen=True)
class Column:
    """One item of every row, prepared for its encoder.

    Attributes:
        embedder: the encoder.
        table: the items as its processor prepared them.
        item_N: which of them each row has; None if each row has the item of its own number.
    """

    embedder: Embedder
    table: Any
    item_N: Indices | None = None

    @classmethod
    def of(cls, items: Items, embedder: Embedder) -> "Column":
        """A row for each item."""
        return cls(embedder, embedder.processor.table(items))

    @property
    def full_texts(self) -> int:
        """Texts as long as the longest there may be, most of them cut."""
        return int(getattr(self.table, "full", 0)) if self.item_N is None else 0

    def prepare(
        self, rows_B: Indices, device: torch.device, variation: int | None = None
    ) -> list[Part]:
        """A batch's inputs in parts of like length.

        Args:
            rows_B: row numbers.
            device: where to.
            variation: see Processor.batch.
        """
        item_B = rows_B if self.item_N is None else self.item_N[rows_B]
        processor = self.embedder.processor
        return [
            (part, processor.batch(self.table, item_B[part], device, variation))
            for part in cut_by_length(
                self.table.lengths_N[item_B], PART_OVERHEAD[device.type], PART_BUDGET
            )
        ]


def encode_parts(embedder: Embedder, parts: list[Part]) -> Tensor:
    """(B, D) embeddings of a batch in its order, out of its parts."""
    device = embedder.device
    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        out = [embedder(inputs) for _, inputs in parts]
    back_B = torch.from_numpy(np.argsort(np.concatenate([part for part, _ in parts])))
    return torch.cat(out)[back_B.to(device, non_blocking=True)]


def encode_rows(column: Column, rows_R: Indices, stop: Callable[[], bool]) -> Tensor:
    """(R, D) embeddings of many rows on the encoder's device, without a gradient.

    The encoder is used in the mode that it is in.

    Raises:
        Interrupted: stop() was true.
    """
    embedder = column.embedder
    device = embedder.device
    out_RD = torch.empty((len(rows_R), embedder.embedding_dim), device=device)
    lengths_N = column.table.lengths_N
    item_R = rows_R if column.item_N is None else column.item_N[rows_R]
    order_R = np.argsort(-lengths_N[item_R], kind="stable")
    with torch.no_grad():
        for begin in range(0, len(rows_R), AT_A_TIME):
            if stop():
                raise Interrupted("stopped while encoding")
            chosen_B = order_R[begin : begin + AT_A_TIME]
            parts = column.prepare(rows_R[chosen_B], device)
            out_RD[torch.from_numpy(chosen_B).to(device)] = encode_parts(embedder, parts)
    return out_RD
