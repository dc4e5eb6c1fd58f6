"""spec.loggers: other tools that are told of the training while it goes."""

from typing import Annotated, Final

from pydantic import Field

from embedtune_api.base import ApiModel
from embedtune_api.run import SecretRef

ENV_WANDB: Final = ("WANDB_API_KEY", "WANDB_BASE_URL")
"""Keys of the Secret for Weights & Biases, which are the pod's variables, too; the first must be
there."""
ENV_MLFLOW: Final = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
"""Keys of the Secret for MLflow; none must be there."""


class Wandb(ApiModel):
    """Weights & Biases."""

    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]+$")]
    """The project that the run is put in. Required."""
    entity: (
        Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.-]+$")] | None
    ) = None
    """The user or team that the project is of. Default: the key's own."""
    secret_ref: SecretRef | None = None
    """
    The Secret with the key WANDB_API_KEY and, optional, WANDB_BASE_URL for a server of your own,
    in the job's own namespace. Default: none; with `embedtune run` the environment's are used.
    """


class Mlflow(ApiModel):
    """MLflow."""

    tracking_uri: Annotated[str, Field(pattern=r"^https?://[^\s/]+(/[^\s]*)?$", max_length=1024)]
    """URL of the tracking server, for example http://mlflow.mlops.svc:5000. Required."""
    experiment: Annotated[str, Field(min_length=1, max_length=256)] = "embedtune"
    """The experiment that the run is put in; made if there is none. Default embedtune."""
    secret_ref: SecretRef | None = None
    """
    The Secret with the keys MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or
    MLFLOW_TRACKING_TOKEN, in the job's own namespace. Default: none, and the server is used
    without signing in.
    """


class Loggers(ApiModel):
    """
    Tools that are told the loss and the metrics while the training goes. A tool that does not
    answer is given up, not the training. TensorBoard's files are in every model, in
    report/tensorboard.
    """

    wandb: Wandb | None = None
    """Weights & Biases. Default: none."""
    mlflow: Mlflow | None = None
    """MLflow. Default: none."""
