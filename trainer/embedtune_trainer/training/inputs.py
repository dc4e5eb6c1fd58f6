"""A batch's inputs, made while another step runs: each different item once, in parts.

A batch that is encoded as a whole is put on the device here. One that is not is made ready in the
host's memory, and each part goes to the device when it is encoded.

Columns of one encoder are encoded together, so that a text that stands in several rows or columns
is encoded once, and the parts of like length are as full as they can be. An encoder with batch
normalisation is given the batch as a whole, or in equal parts where that does not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from embedtune_trainer.batches.microbatch import cut_by_length
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.processor import Ready
from embedtune_trainer.encoding import PART_BUDGET, PART_OVERHEAD, Column
from embedtune_trainer.mixture import Batch
from embedtune_trainer.training.distributed import ALONE, World

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class EncoderInputs:
    """What one encoder is given of a batch.

    Attributes:
        embedder: the encoder.
        parts: the inputs of each part, the longest items mostly last; on the device if there is no
            budget.
        sizes: items of each part; U in all.
        costs: of each part, its padded tokens or its images' patches.
        budget: of such at a time with a gradient; None: all of them.
        columns: the batch's columns whose items these are.
        place_CB: on the encoder's device, which of the U items each row of these columns has.
    """

    embedder: Embedder
    parts: tuple[Ready, ...]
    sizes: tuple[int, ...]
    costs: tuple[int, ...]
    budget: int | None
    columns: tuple[int, ...]
    place_CB: Tensor


@runtime_checkable
class Joinable(Protocol):
    """A table that can be joined with others of its kind; see TokenTable.distinct."""

    def __len__(self) -> int: ...

    @classmethod
    def distinct(cls, chosen: Sequence[tuple[Self, Indices]]) -> tuple[Self, Indices]:
        """The different items, and which of them each is."""


class Preparer:
    """Row numbers to inputs, for all batches of a training."""

    def __init__(
        self, columns: Sequence[Column], micro_batch: int | None = None, world: World = ALONE
    ) -> None:
        """`micro_batch` items, each as long as the longest, are encoded at a time; None: all."""
        self._micro_batch = micro_batch
        self._world = world
        self._longest: dict[int, int] = {}
        self._normed = {id(c.embedder) for c in columns if normalises_batches(c.embedder)}
        for column in columns:
            key, lengths_N = id(column.embedder), column.table.lengths_N
            longest = int(lengths_N.max()) if len(lengths_N) else 1
            self._longest[key] = max(longest, self._longest.get(key, 1))

    def __call__(self, batch: Batch, variation: int | None = None) -> list[EncoderInputs]:
        """The inputs of this process's share of a batch, an entry for each encoder's tables.

        Args:
            batch: which rows of which columns.
            variation: see Processor.batch.
        """
        rows_B = self._world.share(batch.rows)
        together: dict[tuple[int, ...], list[int]] = {}
        for number, column in enumerate(batch.task.columns):
            own = () if isinstance(column.table, Joinable) else (id(column.table),)
            together.setdefault((id(column.embedder), *own), []).append(number)
        return [
            self._inputs(batch.task.columns, tuple(numbers), rows_B, variation)
            for numbers in together.values()
        ]

    def _inputs(
        self,
        all_columns: Sequence[Column],
        numbers: tuple[int, ...],
        rows_B: Indices,
        variation: int | None,
    ) -> EncoderInputs:
        columns = [all_columns[number] for number in numbers]
        embedder = columns[0].embedder
        table, item_U, place_M = _distinct(columns, rows_B)
        budget = None
        if self._micro_batch is not None:
            budget = self._micro_batch * self._longest[id(embedder)]
        device = embedder.device
        on_cuda = device.type == "cuda"
        length_U = table.lengths_N[item_U]
        most = PART_BUDGET[device.type]
        if not len(item_U):
            parts = []
        elif id(embedder) in self._normed:
            parts = _equal_parts(length_U, budget)
        else:
            parts = cut_by_length(length_U, PART_OVERHEAD[device.type], min(most, budget or most))
        back_U = np.argsort(np.concatenate(parts)) if parts else item_U
        place_CB = torch.from_numpy(back_U[place_M].reshape(len(columns), len(rows_B)))
        if on_cuda:
            place_CB = place_CB.pin_memory()
        ready = [
            embedder.processor.ready(table, item_U[part], variation, pinned=on_cuda)
            for part in parts
        ]
        if budget is None:
            ready = [part.to(device) for part in ready]
        return EncoderInputs(
            embedder,
            tuple(ready),
            tuple(len(part) for part in parts),
            tuple(len(part) * int(length_U[part].max()) for part in parts),
            budget,
            numbers,
            place_CB.to(device, non_blocking=True),
        )


def normalises_batches(embedder: nn.Module) -> bool:
    """Whether an item's embedding depends on those that are encoded with it."""
    norms = (m for m in embedder.modules() if isinstance(m, _BatchNorm))
    return any(norm.weight is None or norm.weight.requires_grad for norm in norms)


def _equal_parts(length_U: Indices, budget: int | None) -> list[Indices]:
    """As few parts of a size as the budget allows, in the batch's order, of 2 items at least.

    Batch normalisation wants parts that are alike, not items of a part.
    """
    whole = np.arange(len(length_U))
    if budget is None:
        return [whole]
    count = -(-len(whole) * int(length_U.max()) // budget)
    return np.array_split(whole, max(1, min(count, len(whole) // 2)))


def _distinct(columns: Sequence[Column], rows_B: Indices) -> tuple[Any, Indices, Indices]:
    """A table, the different items in it, and which of these each row has, column by column."""
    items = [rows_B if c.item_N is None else c.item_N[rows_B] for c in columns]
    table = columns[0].table
    if isinstance(table, Joinable):
        chosen = [(column.table, item_B) for column, item_B in zip(columns, items, strict=True)]
        joined, place_M = table.distinct(chosen)
        return joined, np.arange(len(joined)), place_M
    item_U, place_M = np.unique(np.concatenate(items), return_inverse=True)
    return table, item_U, place_M
