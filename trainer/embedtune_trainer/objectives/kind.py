"""What a line of the table of losses says, and what a loss is told of the rows.

A loss of this trainer is an ApiModel of its options that is called with a batch's embeddings. What
stands between it and a batch's row numbers - classes, scores, what is known to belong together - is
the function `build` of its line in the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedtune_api.base import ApiModel
from embedtune_trainer.batches.pairs import RandomSampler
from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.batches.sampler import ClassSampler
from embedtune_trainer.objectives.log_sums import LeftOut
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.rows.table import LabelledRows, Rows

Indices = NDArray[np.int64]
Layout = Literal["labelled", "pairs", "scored", "margins", "text-image"]
Loss = Callable[[Sequence[Tensor], Indices], BatchLoss]
"""The embeddings of a batch, (B, D) a column, and its row numbers, to the loss.

One that has weights of its own is an nn.Module with such a forward.
"""


class Sampler(Protocol):
    """Batches of row numbers."""

    def __len__(self) -> int:
        """Batches in a pass over the rows."""

    def epoch(self, epoch: int) -> list[Indices]:
        """Those of one pass (from 0)."""


@dataclass
class Known:
    """What the data says of its rows, and the model of what the data does not say.

    Attributes:
        rows: the data.
        embedding_dim: D of what the loss is given.
        log_scale: a pair's temperature, see objectives.ranking; None if the model has none.
        bias: a pair's bias, see objectives.siglip; None if the model has none.
        seed: of the weights that a loss begins with.
        mined_NK: rows whose right items are mined as hard negatives; None if none are.
    """

    rows: Rows
    embedding_dim: int
    log_scale: nn.Parameter | None = None
    bias: nn.Parameter | None = None
    mined_NK: Indices | None = None
    seed: int = 0

    @cached_property
    def labels_N(self) -> Indices:
        """Each row's class by number, on labelled rows.

        Raises:
            TypeError: they are pairs.
        """
        if not isinstance(self.rows, LabelledRows):
            raise TypeError("pairs have no labels")
        return self.rows.labels.numbers_N()

    @property
    def classes(self) -> int:
        """How many there are, on labelled rows; labels_N has all numbers below it."""
        return len(self.rows.class_sizes) if isinstance(self.rows, LabelledRows) else 0

    @cached_property
    def relation(self) -> Relation:
        """What belongs together, on pairs.

        Raises:
            TypeError: the rows are labelled.
        """
        if isinstance(self.rows, LabelledRows):
            raise TypeError("labelled rows are no pairs")
        return Relation.of(self.rows)

    def left_out(self, batch: Indices, device: torch.device) -> LeftOut:
        """What a ranking of the batch's candidates leaves out, see Relation.known."""
        known = self.relation.known(batch, self.mined_NK)

        def rows(begin: int, end: int) -> tuple[Tensor, Tensor]:
            row_K, column_K = (torch.from_numpy(place) for place in known.rows(begin, end))
            return row_K.to(device, non_blocking=True), column_K.to(device, non_blocking=True)

        return rows


@dataclass(frozen=True)
class LossKind:
    """A line of the table.

    Attributes:
        layouts: rows that it can be trained on.
        sampler: what goes into a batch: classes of several rows each, or rows drawn at random.
        options: the type that declares spec.objective.lossOptions.
        build: options, the miner and what is known of the rows to the loss.
        miners: those that it takes, by their names, with the types that declare their options.
        default_miner: what `auto` means; None if that is no miner.
        hard_negatives: whether it takes hard negatives, given with the data or mined. Those of
            rows with margins every loss takes that is for such rows.
    """

    layouts: tuple[Layout, ...]
    sampler: Literal["class", "random"]
    options: type[ApiModel]
    build: Callable[[Any, Any, Known], Loss]
    miners: Mapping[str, type[ApiModel]] = field(default_factory=dict)
    default_miner: str | None = None
    hard_negatives: bool = False

    @property
    def columns(self) -> int | None:
        """How many columns it is given at most; None: all that there are."""
        if self.hard_negatives:
            return None
        return 3 if "margins" in self.layouts else 2


def layout_of(rows: Rows) -> Layout:
    """What the rows are."""
    if isinstance(rows, LabelledRows):
        return "labelled"
    if rows.scores_N is not None:
        return "scored"
    if rows.margins_N is not None:
        return "margins"
    return "pairs" if rows.left.modality == rows.right.modality else "text-image"


def build_sampler(
    wanted: Literal["class", "random"],
    known: Known,
    *,
    batch_size: int,
    items_per_class: int,
    seed: int,
) -> Sampler:
    """Batches of classes or of rows at random."""
    if wanted == "class":
        return ClassSampler(known.labels_N, batch_size, items_per_class, seed)
    return RandomSampler(len(known.rows), batch_size, seed)
