"""The checkpoints of a job: where its output is, of the run that its spec and data make."""

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Final

from torch import nn

from embedtune_api.contract import CHECKPOINTS
from embedtune_api.job import FineTuneJob
from embedtune_trainer.checkpoints.identity import Identity
from embedtune_trainer.checkpoints.keeper import Keeper
from embedtune_trainer.checkpoints.shelf import Shelf
from embedtune_trainer.checkpoints.state import trained_shapes
from embedtune_trainer.progress import Reporter
from embedtune_trainer.sources.storage import RetryPolicy, Store, open_storage
from embedtune_trainer.tasks import Task

WRITING: Final = RetryPolicy(give_up_after_s=20)
"""Of one transfer; the writer begins anew after it, with what is newest then."""


def open_keeper(
    job: FineTuneJob,
    store: Store,
    module: nn.Module,
    tasks: Sequence[Task],
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
        work_dir: a folder of its own.
        reporter: told of what happens.
    """
    halt = Event()
    writing = open_storage(job.spec.storage, halt, WRITING)
    shelf = Shelf(store, writing, f"{job.output_uri}{CHECKPOINTS}/", halt)
    rows = ((task.entry.place, task.entry.rows) for task in tasks)
    identity = Identity.of(job.spec, rows, trained_shapes(module, tasks))
    return Keeper(shelf, job.spec.run_policy.checkpoints, identity, work_dir, reporter)
