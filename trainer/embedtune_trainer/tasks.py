"""What is trained on one set of rows: columns to encode, batches, and a loss."""

from dataclasses import dataclass, field

from torch import nn

from embedtune_api import spec
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.encoding import Column
from embedtune_trainer.negatives import MinedNegatives
from embedtune_trainer.objectives.build import build_loss
from embedtune_trainer.objectives.choice import ChosenLoss, Entry
from embedtune_trainer.objectives.kind import Known, Loss, Sampler, build_sampler
from embedtune_trainer.rows.table import LabelledRows


@dataclass(frozen=True)
class Task:
    """A set of rows with its objective.

    Attributes:
        name: the loss, as in the spec, or several.
        entry: the rows.
        columns: what of a row is encoded, and by what.
        sampler: which rows go together.
        loss: the embeddings of a batch, (B, D) a column, and its row numbers, to the loss.
        facts: what the data is like, for the report.
        negatives: hard negatives that are mined for every epoch; None if none are.
        loss_module: the loss's own weights, on the encoders' device; None if it has none.
    """

    name: str
    entry: Entry
    columns: tuple[Column, ...]
    sampler: Sampler
    loss: Loss
    facts: dict[str, int] = field(default_factory=dict)
    negatives: MinedNegatives | None = None
    loss_module: nn.Module | None = None


def build_task(
    encoders: Encoders,
    entry: Entry,
    chosen: ChosenLoss,
    objective: spec.Objective,
    training: spec.Training,
    seed: int,
) -> Task:
    """The task for these rows.

    Args:
        encoders: what is trained.
        entry: the rows.
        chosen: their loss.
        objective: spec.objective, for the batches.
        training: spec.training, for the batches.
        seed: of the batches and of the hard negatives.

    Raises:
        BadSpec: the loss does not suit the model.
    """
    known = Known(entry.rows, encoders.embedding_dim, encoders.log_scale, encoders.bias, seed=seed)
    columns = _columns(encoders, entry)
    negatives = None
    if chosen.hard_negatives is not None:
        left, right = columns[:2]
        negatives = MinedNegatives(known.relation, left, right, chosen.hard_negatives, seed)
        known.mined_NK = negatives.rows_NK
        columns += negatives.columns
    sampler = build_sampler(
        chosen.kind.sampler if objective.sampler == "auto" else objective.sampler,
        known,
        batch_size=training.rows_in_batch,
        items_per_class=objective.items_per_class,
        seed=seed,
    )
    facts = _facts(known) | {"full_texts": sum(column.full_texts for column in columns)}
    loss = build_loss(chosen, objective.matryoshka, known)
    loss_module = loss.to(encoders.left.device) if isinstance(loss, nn.Module) else None
    name = " + ".join(each.name for each in chosen.all)
    return Task(name, entry, columns, sampler, loss, facts, negatives, loss_module)


def _columns(encoders: Encoders, entry: Entry) -> tuple[Column, ...]:
    """The item of labelled rows; of pairs the anchor, the positive and given hard negatives."""
    rows = entry.rows
    if isinstance(rows, LabelledRows):
        return (Column.of(rows.items, encoders.left),)
    others = (Column.of(items, encoders.right) for items in (rows.right, *rows.negatives))
    return (Column.of(rows.left, encoders.left), *others)


def _facts(known: Known) -> dict[str, int]:
    if isinstance(known.rows, LabelledRows):
        return {"classes": len(known.rows.class_sizes), "singletons": known.rows.singletons}
    return {"duplicate_rows": known.relation.duplicates}
