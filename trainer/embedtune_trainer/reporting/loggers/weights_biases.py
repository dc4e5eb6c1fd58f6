"""Weights & Biases, by its own client; its key is the environment's WANDB_API_KEY."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from embedtune_api.job import FineTuneJob
from embedtune_api.loggers import Wandb
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.reporting.loggers.forward import Point

FIELD: Final = "spec.loggers.wandb"


class WandbTool:
    """A run of wandb; a job that is tried again goes on with the run that it had."""

    def __init__(self, wanted: Wandb, job: FineTuneJob, folder: Path) -> None:
        """Begin the run; `folder` is for wandb's own files.

        Raises:
            BadSpec: the package is missing, or the key is refused.
            Exception: whatever the client raises when the service does not answer.
        """
        try:
            wandb: Any = import_module("wandb")
        except ImportError:
            raise BadSpec(
                f"{FIELD}: the package wandb is not installed: pip install 'embedtune[wandb]', or"
                " a trainer image with it"
            ) from None
        refused = (wandb.errors.AuthenticationError, wandb.errors.UsageError)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run: Any = wandb.init(
                project=wanted.project,
                entity=wanted.entity,
                name=job.metadata.name,
                id=job.metadata.uid if _in_cluster(job) else None,
                resume="allow",
                config=job.trainer_input()["spec"],
                dir=folder,
                settings=wandb.Settings(console="off", silent=True, disable_git=True),
            )
        except refused as error:
            raise BadSpec(
                f"{FIELD}: refused: {error}; check WANDB_API_KEY in the Secret of secretRef, and"
                " project and entity"
            ) from None
        # its own step only grows, but a job that is tried again goes back to its checkpoint
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def send(self, points: Sequence[Point]) -> None:
        """See Tool."""
        for point in points:
            self._run.log({"step": point.step, **point.values})

    def close(self, failed: bool) -> None:
        """See Tool."""
        self._run.finish(exit_code=int(failed))


def _in_cluster(job: FineTuneJob) -> bool:
    """Whether the uid is the job's alone; `embedtune run` gives all jobs one."""
    return job.metadata.uid not in (None, "", "local")
