"""What a training is made of, for each layout of rows: columns to encode, batches, and a loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedtune_api import spec
from embedtune_api.base import ApiModel
from embedtune_trainer.batches.pairs import RandomSampler
from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.batches.sampler import ClassSampler
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.images.augment import OF_CAPTIONED, OF_CLASSES, Augmentation
from embedtune_trainer.images.processor import ImageProcessor
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.objectives.options import read_options
from embedtune_trainer.objectives.pairs import (
    CLIPLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
    Temperature,
)
from embedtune_trainer.objectives.triplet import build_objective
from embedtune_trainer.rows.table import Items, LabelledRows, PairRows, Rows

Indices = NDArray[np.int64]
FIELD = "spec.objective"
T = TypeVar("T", bound=ApiModel)


class Sampler(Protocol):
    """Batches of row numbers."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int) -> list[Indices]:
        """Those of one epoch (from 0)."""


class Column:
    """One item of every row, prepared for its encoder."""

    def __init__(self, items: Items, embedder: Embedder) -> None:
        self.embedder = embedder
        self.table: Any = embedder.processor.table(items)

    @property
    def full_texts(self) -> int:
        """Texts as long as the longest there may be, most of them cut."""
        return int(getattr(self.table, "full", 0))


@dataclass(frozen=True)
class Task:
    """A training's data and objective.

    Attributes:
        name: the loss, as in the spec.
        columns: what of a row is encoded, and by what.
        sampler: which rows go together.
        loss: the embeddings of a batch, (B, D) a column, and its row numbers, to the loss.
        facts: what the data is like, for the report.
    """

    name: str
    columns: tuple[Column, ...]
    sampler: Sampler
    loss: Callable[[Sequence[Tensor], Indices], BatchLoss]
    facts: dict[str, int] = field(default_factory=dict)


def loss_name(objective: spec.Objective, rows: Rows) -> str:
    """The loss for these rows.

    Raises:
        BadSpec: the spec names one that they cannot be trained with.
    """
    suitable = _suitable(rows)
    if objective.loss == "auto":
        return suitable[0]
    if objective.loss not in suitable:
        raise BadSpec(
            f"{FIELD}.loss: {objective.loss} cannot be trained on {_layout(rows)}; use"
            f" {' or '.join(suitable)}, or auto"
        )
    return objective.loss


def build_task(
    encoders: Encoders, rows: Rows, objective: spec.Objective, training: spec.Training
) -> Task:
    """The task for these rows.

    Raises:
        BadSpec: a loss that does not suit the rows, or a wrong option.
    """
    name = loss_name(objective, rows)
    for embedder in (encoders.left, encoders.right):
        if isinstance(embedder.processor, ImageProcessor):
            embedder.processor.augmentation = augmentation_for(rows)
    if isinstance(rows, LabelledRows):
        return _labelled(name, encoders, rows, objective, training)
    if objective.miner_options:
        raise BadSpec(f"{FIELD}.minerOptions: {name} has no miner; remove them")
    items = (rows.left, rows.right, *rows.negatives)
    sides = (encoders.left, *(encoders.right for _ in items[1:]))
    columns = tuple(Column(*column) for column in zip(items, sides, strict=True))
    relation = Relation.of(rows)
    return Task(
        name,
        columns,
        RandomSampler(len(rows), training.batch_size, training.seed),
        _pair_loss(name, encoders, rows, relation, objective),
        {"duplicate_rows": relation.duplicates} | _full_texts(columns),
    )


def augmentation_for(rows: Rows) -> Augmentation:
    """How images are varied: a caption may name sides and colours, a class does not."""
    return OF_CLASSES if isinstance(rows, LabelledRows) else OF_CAPTIONED


def _suitable(rows: Rows) -> tuple[str, ...]:
    """Losses that rows can be trained with, the default first."""
    if isinstance(rows, LabelledRows):
        return ("TripletMarginLoss",)
    if rows.scores_N is not None:
        return ("CosineSimilarityLoss",)
    if rows.left.modality == rows.right.modality:
        return ("MultipleNegativesRankingLoss",)
    return ("CLIPLoss", "MultipleNegativesRankingLoss")


def _layout(rows: Rows) -> str:
    if isinstance(rows, LabelledRows):
        return "labelled rows"
    if rows.scores_N is not None:
        return "scored pairs"
    return "pairs" if rows.left.modality == rows.right.modality else "texts with images"


def _labelled(
    name: str,
    encoders: Encoders,
    rows: LabelledRows,
    objective: spec.Objective,
    training: spec.Training,
) -> Task:
    triplets = build_objective(objective)
    _, labels = np.unique(np.asarray(rows.labels, dtype=object), return_inverse=True)
    labels_N: Indices = labels.astype(np.int64)
    sampler = ClassSampler(labels_N, training.batch_size, objective.items_per_class, training.seed)
    columns = (Column(rows.items, encoders.left),)

    def loss(embeddings: Sequence[Tensor], batch: Indices) -> BatchLoss:
        return triplets(embeddings[0], torch.from_numpy(labels_N[batch]))

    facts = {"singletons": sampler.singletons} | _full_texts(columns)
    return Task(name, columns, sampler, loss, facts)


def _pair_loss(
    name: str, encoders: Encoders, rows: PairRows, relation: Relation, objective: spec.Objective
) -> Callable[[Sequence[Tensor], Indices], BatchLoss]:
    if name == "CosineSimilarityLoss":
        cosine = _options(CosineSimilarityLoss, objective)
        scores_N = torch.as_tensor(rows.scores_N, dtype=torch.float32)
        return lambda x, batch: cosine(x[0], x[1], scores_N[batch].to(x[0].device))

    def known(batch: Indices, like: Tensor) -> Tensor:
        return torch.from_numpy(relation.known_BC(batch)).to(like.device, non_blocking=True)

    if name == "MultipleNegativesRankingLoss":
        ranking = _options(MultipleNegativesRankingLoss, objective)
        return lambda x, batch: ranking(x[0], torch.cat(list(x[1:])), known(batch, x[0]))
    if rows.negatives or encoders.log_scale is None:
        raise BadSpec(f"{FIELD}.loss: CLIPLoss takes texts with images and no hard negatives")
    clip, log_scale = _options(CLIPLoss, objective), encoders.log_scale
    Temperature(log_scale).begin(clip)
    return lambda x, batch: clip(x[0], x[1], known(batch, x[0]), log_scale)


def _options(declared: type[T], objective: spec.Objective) -> T:
    return read_options(declared, objective.loss_options, f"{FIELD}.lossOptions")


def _full_texts(columns: tuple[Column, ...]) -> dict[str, int]:
    return {"full_texts": sum(column.full_texts for column in columns)}
