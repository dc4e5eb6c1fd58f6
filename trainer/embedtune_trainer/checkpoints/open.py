"""The checkpoints of a job: where its output is, of the run that its spec and data make."""

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Final

from torch import nn

from embedtune_api.contract import CHECKPOINTS
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Training
from embedtune_trainer.checkpoints.files import Damaged
from embedtune_trainer.checkpoints.identity import Identity
from embedtune_trainer.checkpoints.keeper import Keeper
from embedtune_trainer.checkpoints.shelf import Shelf
from embedtune_trainer.checkpoints.state import trained_shapes
from embedtune_trainer.errors import SourceNotFound
from embedtune_trainer.progress import Reporter
from embedtune_trainer.rows.table import Rows
from embedtune_trainer.sources.storage import RetryPolicy, Store, open_storage
from embedtune_trainer.tasks import Task

FOUND: Final = ("batch_size", "micro_batch")
"""Fields of spec.training that may say auto."""
EVALUATION: Final = "spec.data.evaluation"
SEARCHED: Final = (f"{EVALUATION}.queries", f"{EVALUATION}.index")
WRITING: Final = RetryPolicy(give_up_after_s=20)
"""Of one transfer; the writer begins anew after it, with what is newest then."""


def as_recorded(job: FineTuneJob, store: Store, work_dir: Path) -> Training:
    """spec.training with what an earlier attempt found for auto: a retry must find the same.

    Args:
        job: what is run.
        store: the run's.
        work_dir: a folder of its own.
    """
    training = job.spec.training
    auto = [name for name in FOUND if getattr(training, name) == "auto"]
    shelf = _shelf(job, store)
    for step in shelf.complete() if auto else ():
        try:
            found = shelf.manifest(step, work_dir).found
        except (Damaged, SourceNotFound):
            continue
        return training.model_copy(update={name: found[name] for name in auto if name in found})
    return training


def open_keeper(
    job: FineTuneJob,
    store: Store,
    module: nn.Module,
    tasks: Sequence[Task],
    measured_on: Sequence[Rows],
    work_dir: Path,
    reporter: Reporter,
) -> Keeper:
    """Of a run that is ready to train; to be closed before its model is published.

    Args:
        job: what is run.
        store: the run's; checkpoints are written by another, since the last of them is written
            when the run has been told to stop already.
        module: what is trained.
        tasks: what it is trained on.
        measured_on: the rows that say which weights are the best so far; see Measure.
        work_dir: a folder of its own.
        reporter: told of what happens.
    """
    places = (EVALUATION,) if len(measured_on) == 1 else SEARCHED
    rows = [(task.entry.place, task.entry.rows) for task in tasks]
    rows += zip(places, measured_on, strict=True)
    identity = Identity.of(job.spec, rows, trained_shapes(module, tasks))
    return Keeper(_shelf(job, store), job.spec.run_policy.checkpoints, identity, work_dir, reporter)


def _shelf(job: FineTuneJob, store: Store) -> Shelf:
    halt = Event()
    writing = open_storage(job.spec.storage, halt, WRITING)
    return Shelf(store, writing, f"{job.output_uri}{CHECKPOINTS}/", halt)
