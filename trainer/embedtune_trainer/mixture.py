"""Everything that is trained on: one set of rows, or several, each batch of one of them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedtune_api import spec
from embedtune_trainer.batches.interleave import Interleaving
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.images.augment import OF_CAPTIONED, OF_CLASSES, Augmentation
from embedtune_trainer.images.processor import ImageProcessor
from embedtune_trainer.negatives import Mined
from embedtune_trainer.objectives.choice import Entry, choose_losses
from embedtune_trainer.rows.table import LabelledRows
from embedtune_trainer.tasks import Task, build_task

Indices = NDArray[np.int64]


class Batch(NamedTuple):
    """Rows of one task that a step is taken over.

    Attributes:
        task: whose.
        rows: their numbers.
        done: passes over its rows that the task has behind it.
    """

    task: Task
    rows: Indices
    done: int


class Mixture:
    """The tasks of a training, and whose batch comes when.

    Attributes:
        tasks: one for each entry of the data.
    """

    def __init__(self, tasks: Sequence[Task], weights: Sequence[float] | None, seed: int) -> None:
        """`weights` are the tasks' shares of the batches; None: as many as each has."""
        self.tasks = tuple(tasks)
        self._turns = Interleaving([len(task.sampler) for task in tasks], weights, seed)

    def __len__(self) -> int:
        """Batches in an epoch, the same in every epoch."""
        return len(self._turns)

    @property
    def name(self) -> str:
        """The losses."""
        return ", ".join(dict.fromkeys(task.name for task in self.tasks))

    @property
    def rows(self) -> int:
        """Rows of all tasks."""
        return sum(len(task.entry.rows) for task in self.tasks)

    def epoch(self, epoch: int) -> list[Batch]:
        """The batches of one epoch (from 0)."""
        passes: dict[tuple[int, int], list[Indices]] = {}
        batches = []
        for turn in self._turns.epoch(epoch):
            task = self.tasks[turn.entry]
            key = (turn.entry, turn.done)
            if key not in passes:
                passes[key] = task.sampler.epoch(turn.done)
            batches.append(Batch(task, passes[key][turn.batch], turn.done))
        return batches

    def mine(self, epoch: int, stop: Callable[[], bool]) -> dict[str, Mined]:
        """Mine the hard negatives of an epoch (from 0), by the task's place in the spec.

        Raises:
            Interrupted: stop() was true.
        """
        return {
            task.entry.place: task.negatives.refresh(epoch, stop)
            for task in self.tasks
            if task.negatives is not None
        }

    def passes(self, epochs: int) -> tuple[float, ...]:
        """How often each task's rows are gone through in so many epochs."""
        had = self._turns.before(epochs)
        return tuple(n / len(task.sampler) for n, task in zip(had, self.tasks, strict=True))

    def report(self, epochs: int) -> list[dict[str, object]]:
        """What was trained on, for training.json, task by task."""
        return [
            {
                "place": task.entry.place,
                "source": task.entry.rows.source,
                "loss": task.name,
                "rows": len(task.entry.rows),
                "set_aside": task.entry.set_aside,
                **_skipped(task),
                "batches": len(task.sampler),
                "share": round(share, 6),
                "passes": round(passes, 6),
                **task.facts,
                **_mined(task),
            }
            for task, share, passes in zip(
                self.tasks, self._turns.shares, self.passes(epochs), strict=True
            )
        ]


def _skipped(task: Task) -> dict[str, object]:
    """How many wrong rows were left out, and what was wrong with the first hundred."""
    skipped = task.entry.rows.skipped
    return {"skipped": skipped.count} | ({"skipped_first": list(skipped.first)} if skipped else {})


def build_mixture(
    encoders: Encoders,
    entries: Sequence[Entry],
    objective: spec.Objective,
    training: spec.Training,
    weights: Sequence[float] | None = None,
) -> Mixture:
    """The tasks for these rows.

    Args:
        encoders: what is trained.
        entries: the sets of rows.
        objective: spec.objective.
        training: spec.training.
        weights: of the entries, see Mixture.

    Raises:
        BadSpec: a loss that does not suit the rows, a wrong option, or a weight so small that
            nothing of its entry is trained on.
    """
    chosen = choose_losses(objective, entries)
    for embedder in (encoders.left, encoders.right):
        if isinstance(embedder.processor, ImageProcessor):
            embedder.processor.augmentation = augmentation_for(entries)
    tasks = [
        build_task(encoders, entry, loss, objective, training, _seed(training.seed, i))
        for i, (entry, loss) in enumerate(zip(entries, chosen, strict=True))
    ]
    mixture = Mixture(tasks, weights, training.seed)
    for entry, passes in zip(entries, mixture.passes(training.epochs), strict=True):
        if passes == 0:
            raise BadSpec(
                f"{entry.place}.weight: so small that none of the training's"
                f" {training.epochs * len(mixture)} batches is of this entry; raise it"
            )
    return mixture


def augmentation_for(entries: Sequence[Entry]) -> Augmentation:
    """How images are varied: a caption may name sides and colours, a class does not."""
    classes = all(isinstance(entry.rows, LabelledRows) for entry in entries)
    return OF_CLASSES if classes else OF_CAPTIONED


def _seed(seed: int, entry: int) -> int:
    """One of its own for each entry; the first has the training's."""
    if entry == 0:
        return seed
    return int(np.random.SeedSequence((seed, entry, 0x5EED)).generate_state(1)[0])


def _mined(task: Task) -> dict[str, object]:
    """Of the last epoch."""
    if task.negatives is None or task.negatives.mined is None:
        return {}
    mined = task.negatives.mined
    return {
        "hard_negatives_per_row": round(mined.per_row, 6),
        "rows_without_hard_negative": mined.rows_without,
    }
