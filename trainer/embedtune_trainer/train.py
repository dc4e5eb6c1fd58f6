"""The one way through a run: read here, then loaded, trained, measured and published in course.py.

Data is read before torch is imported and before the backbone is fetched, and the output is tried
first of all: what is wrong with a job shows within seconds, not after an hour.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from embedtune_api.contract import TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_trainer.datafiles import DataFiles, about
from embedtune_trainer.errors import Interrupted
from embedtune_trainer.imports import uncollected
from embedtune_trainer.machine import keep_kernels
from embedtune_trainer.modality import wanted_by
from embedtune_trainer.processes import ALONE, Processes
from embedtune_trainer.progress import Reporter
from embedtune_trainer.reporting.loggers import open_loggers
from embedtune_trainer.rows.check import check_trainable
from embedtune_trainer.sources.beside import FetchedBeside
from embedtune_trainer.sources.storage import Store

Stop = Callable[[], bool]


def run(
    job: FineTuneJob,
    store: Store,
    work_dir: Path,
    reporter: Reporter,
    stop: Stop,
    processes: Processes = ALONE,
) -> TrainResult:
    """Run a job to its end.

    Args:
        job: what to do.
        store: where its URIs are.
        work_dir: for downloads and the model before it is published; nothing else is written to.
        reporter: told how far it is.
        stop: whether to end early, asked between steps and phases.
        processes: that run it together, and have joined.

    Returns:
        The result, with the model in its place; the same in all processes.

    Raises:
        TrainerError: what ended it; the message begins with the spec's field where one is meant.
    """
    folder = processes.folder(work_dir)
    if processes.local_rank:
        store = FetchedBeside(store, folder, work_dir)
    loggers = open_loggers(job, folder / "loggers", reporter)
    with loggers if processes.is_main else nullcontext(reporter) as told:
        told.phase("Loading")
        if processes.is_main:
            with about("spec.output.uri"):
                store.prepare(job.output_uri)
        with processes.node_first():
            with about("spec.model.backbone"):
                wanted = wanted_by(job.spec.model, store, folder / "config")
            keep_kernels(wanted)
            files = DataFiles(store, folder / "data", wanted)
            read = [files.read(dataset, place).rows for place, dataset in job.spec.data.entries]
        for rows in read:
            check_trainable(rows)
        if stop():
            raise Interrupted("told to stop before the model was loaded")

        with uncollected():
            from embedtune_trainer.course import Course

        return Course(job, store, folder, told, stop, processes).run(read, files)
