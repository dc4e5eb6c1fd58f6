"""The tools that a job names, opened before anything is fetched and closed when it is over."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embedtune_api.job import FineTuneJob
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.progress import FanOut, Reporter
from embedtune_trainer.reporting.loggers.forward import Forwarder, Tool

log = logging.getLogger("embedtune")


@contextmanager
def open_loggers(job: FineTuneJob, folder: Path, reporter: Reporter) -> Iterator[Reporter]:
    """The reporter joined with those of spec.loggers; `folder` is for their own files.

    A tool that does not answer is told of and left out.

    Raises:
        BadSpec: a tool's package is missing, or it refuses the credentials.
    """
    forwarders: list[Forwarder] = []
    failed = True
    try:
        for field, opened in _wanted(job, folder):
            tool = _tried(field, opened)
            if tool is not None:
                forwarders.append(Forwarder(field, tool))
        yield FanOut((reporter, *forwarders))
        failed = False
    finally:
        for forwarder in forwarders:
            forwarder.close(failed)


def _wanted(job: FineTuneJob, folder: Path) -> Iterator[tuple[str, Callable[[], Tool]]]:
    wandb, mlflow = job.spec.loggers.wandb, job.spec.loggers.mlflow
    if wandb is not None:
        from embedtune_trainer.reporting.loggers.weights_biases import FIELD, WandbTool

        yield FIELD, lambda: WandbTool(wandb, job, folder)
    if mlflow is not None:
        from embedtune_trainer.reporting.loggers import ml_flow

        yield ml_flow.FIELD, lambda: ml_flow.MlflowTool(mlflow, job)


def _tried(field: str, opened: Callable[[], Tool]) -> Tool | None:
    try:
        return opened()
    except BadSpec:
        raise
    except Exception as error:
        log.warning("%s: %s; the run goes on without it", field, error)
        return None
