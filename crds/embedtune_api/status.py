"""FineTuneJob's status: what the operator says.

Decimals are strings here, as Kubernetes has them, so that what is written reads back the same.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from embedtune_api.base import ApiModel
from embedtune_api.runtime import RuntimeKind

State = Literal["Pending", "Running", "Suspended", "Complete", "Failed"]


class Condition(ApiModel):
    """One observation, as in metav1.Condition."""

    type: Annotated[str, Field(max_length=316)]
    """Running, Suspended, Complete, Failed, ModelExported, Reconciling or Stalled."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[
        str, Field(max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    ]
    """Why, in one CamelCase word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, for a person, with what to do."""
    last_transition_time: str
    """When status last changed (RFC 3339)."""
    observed_generation: int | None = None
    """The metadata.generation that this was said of."""


class Progress(ApiModel):
    """How far the training is."""

    summary: str
    """The progress in a word, for example 62%."""
    phase: str
    """What the trainer is doing: Loading, Evaluating, Training, Exporting."""
    percent: Annotated[int, Field(ge=0, le=100)]
    """Share of the optimizer steps that are done, 0 to 100."""
    epoch: int
    """The epoch in work, from 1; 0 before the first."""
    step: int
    """Optimizer steps done."""
    steps: int
    """Optimizer steps in all."""
    loss: str | None = None
    """The last step's loss."""
    samples_per_second: str | None = None
    """Training rows per second, lately."""
    eta_seconds: int | None = None
    """Seconds until the last step, at the present rate."""


class Headline(ApiModel):
    """The one metric that the job is judged by."""

    name: str
    """The metric, for example ndcg_at_10."""
    before: str
    """Its value with the untouched backbone."""
    after: str | None = None
    """Its value with the tuned model."""


class Metrics(ApiModel):
    """How much better it got, on the evaluation data."""

    headline: Headline
    """The metric named by spec.data.evaluation.metric."""
    before: dict[str, str]
    """All metrics of the untouched backbone."""
    after: dict[str, str]
    """All metrics of the tuned model."""


class ModelRef(ApiModel):
    """The model that came out."""

    uri: str
    """The folder that holds it, manifest.json within."""
    digest: str
    """sha256 of manifest.json, which holds the sha256 of every other file."""
    size_bytes: int
    """Bytes of all files."""
    embedding_dim: int
    """Dimension of its embeddings."""
    base_model: str
    """The backbone that it was made of."""


class LastFailure(ApiModel):
    """The last attempt that failed, kept also when a later one succeeds."""

    reason: str
    """For example OOMKilled, BadData, StorageUnavailable."""
    message: str
    """The trainer's last words, or the tail of its log."""
    exit_code: int | None = None
    """The trainer's exit code."""
    pod_name: str | None = None
    """The pod that failed."""
    time: str | None = None
    """When (RFC 3339)."""


class RuntimeUsed(ApiModel):
    """The runtime that the job is run by, as it was when the job began."""

    kind: RuntimeKind
    """FineTuneRuntime or ClusterFineTuneRuntime."""
    name: str
    """Its name."""
    uid: str
    """Its uid."""
    generation: int
    """Its metadata.generation."""
    spec: dict[str, Any]
    """
    Its spec at that generation without defaults, of the resource classes only the job's own. All
    pods of the job are made by it, whatever has become of the runtime.
    """


class FineTuneJobStatus(ApiModel):
    """Where the job is."""

    observed_generation: int | None = None
    """The metadata.generation that this status is of; -1 before the operator has seen the job."""
    state: State = "Pending"
    """The conditions in one word, for people: Pending, Running, Suspended, Complete, Failed."""
    reason: str | None = None
    """The reason of the condition that state stands for."""
    conditions: tuple[Condition, ...] = ()
    """What is known, one entry a type."""
    runtime: RuntimeUsed | None = None
    """The runtime that the job is run by, written down before anything is made of it."""
    output_uri: str | None = None
    """The folder that the model is put into."""
    job_name: str | None = None
    """The batch/v1 Job that runs the training."""
    memory: str | None = None
    """The pod's memory, where it was raised after an attempt that ran out of it."""
    start_time: str | None = None
    """When a pod first ran (RFC 3339)."""
    completion_time: str | None = None
    """When the job became Complete or Failed (RFC 3339)."""
    restarts: int = 0
    """Attempts that failed so far."""
    progress: Progress | None = None
    """How far the training is."""
    metrics: Metrics | None = None
    """Before and after."""
    model: ModelRef | None = None
    """The model that came out."""
    last_failure: LastFailure | None = None
    """The last attempt that failed."""
