"""What operator and trainer promise each other, apart from the job itself.

The operator mounts the job as JSON and sets the S3 variables; the trainer serves metrics while it
works, and ends with an exit code and a TrainResult in its termination message. The model is where
`FineTuneJob.output_uri` says, with MANIFEST written last: a prefix without it is not a model.
"""

from bisect import bisect
from enum import IntEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from embedtune_api import reasons
from embedtune_api.base import ApiModel
from embedtune_api.status import Metrics, ModelRef, SizedResources

JOB_FILE: Final = "/etc/embedtune/job.json"
"""Where the ConfigMap with the job is mounted."""
JOB_KEY: Final = "job.json"
WORK_DIR: Final = "/work"
"""The pod's only writable folder, an emptyDir; also HOME and TMPDIR."""
PVC_DIR: Final = "/pvc"
"""Where the claims of pvc:// URIs are mounted, read only, each in a folder by its name."""
TERMINATION_LOG: Final = "/dev/termination-log"
TERMINATION_MAX_BYTES: Final = 4096
METRICS_PORT: Final = 8080
CONTAINER: Final = "trainer"
"""Of the training pod, of the one that sizes it and of the one that removes a model."""
MANIFEST: Final = "manifest.json"
CHECKPOINTS: Final = "checkpoints"
"""The folder beside the model's files that holds a run's checkpoints, until the model is there."""

ENV_ENDPOINT: Final = "AWS_ENDPOINT_URL"
ENV_REGION: Final = "AWS_REGION"
ENV_ACCESS_KEY: Final = "AWS_ACCESS_KEY_ID"
ENV_SECRET_KEY: Final = "AWS_SECRET_ACCESS_KEY"  # noqa: S105  the name of a variable
ENV_SESSION_TOKEN: Final = "AWS_SESSION_TOKEN"  # noqa: S105  the name of a variable
ENV_HF_TOKEN: Final = "HF_TOKEN"  # noqa: S105  the name of a variable
ENV_ALLOW_PRIVATE: Final = "EMBEDTUNE_ALLOW_PRIVATE_ADDRESSES"
"""1 lets images come from private addresses."""
ENV_NODES: Final = "EMBEDTUNE_NODES"
"""How many pods train together, where there are several."""
ENV_MIN_NODES: Final = "EMBEDTUNE_MIN_NODES"
"""How few of them may train; unset, none may be missing."""
ENV_RENDEZVOUS: Final = "EMBEDTUNE_RENDEZVOUS"
"""host:port of the first pod, where the others find it."""
ENV_NODE: Final = "JOB_COMPLETION_INDEX"
"""A pod's number among them, from 0; Kubernetes sets it in the pods of an Indexed Job."""
RENDEZVOUS_PORT: Final = 29400
"""Where the first pod listens for the others. Once they have met, gloo and NCCL open ports as they
come: pods of one job must reach each other on all of them."""


class ExitCode(IntEnum):
    """The trainer's exit codes: 64 to 79 are final, 80 to 95 are worth a retry."""

    DONE = 0
    BAD_SPEC = 64
    BAD_DATA = 65
    UNSUPPORTED_MODEL = 66
    NOT_FOUND = 67
    ACCESS_DENIED = 68
    DIVERGED = 69
    COLLAPSED = 70
    NOTHING_LEARNT = 71
    STORAGE_UNAVAILABLE = 80
    INTERRUPTED = 81
    INTERNAL_ERROR = 82

    @property
    def final(self) -> bool:
        """Whether no retry can mend it."""
        return 64 <= self <= 79

    @property
    def reason(self) -> str:
        """The reason that conditions and events carry for it."""
        return _REASONS[self]


_REASONS: Final = {
    ExitCode.DONE: reasons.SUCCEEDED,
    ExitCode.BAD_SPEC: reasons.BAD_SPEC,
    ExitCode.BAD_DATA: reasons.BAD_DATA,
    ExitCode.UNSUPPORTED_MODEL: reasons.UNSUPPORTED_MODEL,
    ExitCode.NOT_FOUND: reasons.NOT_FOUND,
    ExitCode.ACCESS_DENIED: reasons.ACCESS_DENIED,
    ExitCode.DIVERGED: reasons.DIVERGED,
    ExitCode.COLLAPSED: reasons.COLLAPSED,
    ExitCode.NOTHING_LEARNT: reasons.NOTHING_LEARNT,
    ExitCode.STORAGE_UNAVAILABLE: reasons.STORAGE_UNAVAILABLE,
    ExitCode.INTERRUPTED: reasons.INTERRUPTED,
    ExitCode.INTERNAL_ERROR: reasons.INTERNAL_ERROR,
}

OOM_EXIT_CODE: Final = 137
"""SIGKILL; from a container that still exists this is the kernel's out-of-memory killer."""
FINAL_EXIT_CODES: Final = (*sorted(c for c in ExitCode if c.final), OOM_EXIT_CODE)
"""What podFailurePolicy fails the Job on. With the same memory an OOM would only come again."""
SIGTERM_EXIT_CODE: Final = 128 + 15
"""SIGTERM before the trainer listens to it."""
STOPPED_EXIT_CODES: Final = (int(ExitCode.INTERRUPTED), SIGTERM_EXIT_CODE)
"""What podFailurePolicy does not count: the trainer was told to stop, as by a suspension."""


class Metric:
    """Names of the trainer's Prometheus metrics, all gauges without labels but PHASE."""

    PHASE: Final = "embedtune_trainer_phase"
    """1 for the phase in work, by its label `phase`."""
    EPOCH: Final = "embedtune_trainer_epoch"
    STEP: Final = "embedtune_trainer_step"
    STEPS: Final = "embedtune_trainer_steps"
    LOSS: Final = "embedtune_trainer_loss"
    SAMPLES_PER_SECOND: Final = "embedtune_trainer_samples_per_second"
    ETA_SECONDS: Final = "embedtune_trainer_eta_seconds"
    DATA_WAIT_RATIO: Final = "embedtune_trainer_data_wait_ratio"
    GPU_MEMORY_BYTES: Final = "embedtune_trainer_gpu_memory_bytes"


PHASES: Final = ("Loading", "Evaluating", "Training", "Exporting")


class Failure(ApiModel):
    """Why an attempt ended."""

    reason: str
    message: str


class TrainResult(ApiModel):
    """The trainer's last word, at most TERMINATION_MAX_BYTES as JSON."""

    version: Literal[1] = 1
    model: ModelRef | None = None
    """Set if and only if the manifest is in its place."""
    metrics: Metrics | None = None
    gated: bool = False
    """Whether the model had to be better than the backbone, and is."""
    failure: Failure | None = None
    """With a model: why it is not what was asked for, though it is in its place."""
    train_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds from the first step's begin to the last one's end."""

    def to_message(self) -> str:
        """JSON of at most TERMINATION_MAX_BYTES; a failure's message is cut at its front to fit."""
        text = self._with_last(None)
        if self.failure is None or len(text.encode()) <= TERMINATION_MAX_BYTES:
            return text
        # A character is 1 to 6 bytes as JSON, so the length that fits is searched for.
        fitting = bisect(
            range(len(self.failure.message)),
            TERMINATION_MAX_BYTES,
            key=lambda kept: len(self._with_last(kept).encode()),
        )
        return self._with_last(fitting - 1)

    def _with_last(self, kept: int | None) -> str:
        """As JSON, of a failure's message only the last `kept` characters."""
        result = self
        if kept is not None and self.failure is not None:
            message = self.failure.message
            cut = {"message": "…" + message[len(message) - kept :]}
            result = self.model_copy(update={"failure": self.failure.model_copy(update=cut)})
        return result.model_dump_json(by_alias=True, exclude_none=True)


class SizeResult(ApiModel):
    """The sizing pod's last word, at most TERMINATION_MAX_BYTES as JSON."""

    version: Literal[1] = 1
    resources: SizedResources | None = None
    """What the job needs; what spec.resources gives is in it as it stands there."""
    failure: Failure | None = None
    """Without resources: why they are not known. The exit code says whether the job can run."""

    def to_message(self) -> str:
        """JSON of at most TERMINATION_MAX_BYTES; the reasoning's last lines are left out to fit."""
        result = self
        while len(text := result.model_dump_json(by_alias=True, exclude_none=True).encode()) > (
            TERMINATION_MAX_BYTES
        ):
            result = result._shorter()
        return text.decode()

    def _shorter(self) -> "SizeResult":
        if self.resources is not None:
            lines = self.resources.reasoning[:-1]
            return SizeResult(resources=self.resources.model_copy(update={"reasoning": lines}))
        failure = self.failure or Failure(reason="", message="")
        kept = "…" + failure.message[len(failure.message) // 4 + 2 :]
        return SizeResult(failure=failure.model_copy(update={"message": kept}))
