"""MLflow, by its own client; who signs in is the environment's MLFLOW_TRACKING_*."""

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import islice
from typing import Any, Final

from embedtune_api.job import FineTuneJob
from embedtune_api.loggers import Mlflow
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.reporting.loggers.forward import Point

FIELD: Final = "spec.loggers.mlflow"
UID: Final = "embedtune.uid"
"""The tag that a job's run is found by when the job is tried again."""
METRICS_AT_ONCE: Final = 1000
PARAMETERS_AT_ONCE: Final = 100
LONGEST: Final = 500
"""Limits of the server's API, the last for a parameter's characters."""
PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""The client's own would hold up the start of a job for minutes."""
REFUSED: Final = (401, 403)


class MlflowTool:
    """A run of MLflow; a job that is tried again goes on with the run that it had."""

    def __init__(self, wanted: Mlflow, job: FineTuneJob) -> None:
        """Begin the run.

        Raises:
            BadSpec: the package is missing, or the server refuses who asks.
            Exception: whatever the client raises when the server does not answer.
        """
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        try:
            mlflow: Any = import_module("mlflow")
            entities: Any = import_module("mlflow.entities")
            errors: Any = import_module("mlflow.exceptions")
        except ImportError:
            raise BadSpec(
                f"{FIELD}: the package mlflow is not installed: pip install 'embedtune[mlflow]', or"
                " a trainer image with it"
            ) from None
        self._metric = entities.Metric
        self._client: Any = mlflow.MlflowClient(tracking_uri=wanted.tracking_uri)
        try:
            self._run_id = self._begun(wanted.experiment, job)
        except errors.MlflowException as error:
            if error.get_http_status_code() not in REFUSED:
                raise
            raise BadSpec(
                f"{FIELD}: {wanted.tracking_uri} refuses: {error}; check the keys in the Secret of"
                " secretRef"
            ) from None
        known = self._client.get_run(self._run_id).data.params
        new = {k: v for k, v in flat(job.trainer_input()["spec"]).items() if k not in known}
        params = iter([entities.Param(name, value[:LONGEST]) for name, value in new.items()])
        while part := list(islice(params, PARAMETERS_AT_ONCE)):
            self._client.log_batch(self._run_id, params=part)

    def send(self, points: Sequence[Point]) -> None:
        """See Tool."""
        metrics = iter(
            self._metric(name, float(value), int(point.at * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        )
        while part := list(islice(metrics, METRICS_AT_ONCE)):
            self._client.log_batch(self._run_id, metrics=part)

    def close(self, failed: bool) -> None:
        """See Tool."""
        self._client.set_terminated(self._run_id, "FAILED" if failed else "FINISHED")

    def _begun(self, experiment: str, job: FineTuneJob) -> str:
        found = self._client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else self._client.create_experiment(experiment)
        uid = job.metadata.uid
        if uid not in (None, "", "local"):
            runs = self._client.search_runs([place], f"tags.`{UID}` = '{uid}'", max_results=1)
            if runs:
                earlier: str = runs[0].info.run_id
                self._client.update_run(earlier, status="RUNNING")
                return earlier
        tags = {UID: str(uid), "embedtune.namespace": str(job.metadata.namespace)}
        run = self._client.create_run(place, tags=tags, run_name=job.metadata.name)
        run_id: str = run.info.run_id
        return run_id


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Leaves by their paths: {"model": {"backbone": "b"}} is {"model.backbone": "b"}."""
    return dict(_leaves(tree, prefix))


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
