"""FineTuneJob as a whole: metadata, spec and status."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api import API_VERSION, KIND
from embedtune_api.base import ApiModel, InvalidJob
from embedtune_api.spec import FineTuneJobSpec

NAME_MAX = 52
"""A job's name, a dash and 8 characters of its uid name its children, 63 characters at most with
the pod's suffix cut from it."""
NAME_MAX_NODES: Final = 49
"""The same of a job with several nodes: a Job's name and a pod's number are a host's name."""
LOCAL_UID: Final = "local"
"""Of a job that is in no cluster."""
NAME_RULE_NODES: Final = (
    f"self.spec.parallelism.nodes == 1 || size(self.metadata.name) <= {NAME_MAX_NODES}",
    f"metadata.name must be at most {NAME_MAX_NODES} characters with several nodes,"
    " since it names their hosts",
)


class NoOutput(InvalidJob):
    """The job does not say where its model goes, and no runtime has said it either."""


class JobMetadata(ApiModel):
    """The part of ObjectMeta that embedtune reads; the rest is let through unread."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[
        str, Field(min_length=1, max_length=NAME_MAX, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    ]
    namespace: str = "default"
    uid: str = LOCAL_UID
    generation: int = 1
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class FineTuneJob(ApiModel):
    """A FineTuneJob: the file a user writes, the resource in the cluster, the trainer's input."""

    api_version: Literal["embedtune.dev/v1alpha1"] = "embedtune.dev/v1alpha1"
    kind: Literal["FineTuneJob"] = "FineTuneJob"
    metadata: JobMetadata
    spec: FineTuneJobSpec
    status: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _pods_can_be_named(self) -> Self:
        if self.spec.parallelism.nodes > 1 and len(self.metadata.name) > NAME_MAX_NODES:
            raise ValueError(NAME_RULE_NODES[1])
        return self

    @property
    def output_uri(self) -> str:
        """The job's own prefix, with a slash at its end: no two jobs share one.

        Raises:
            NoOutput: neither the job nor a runtime says where.
        """
        meta, prefix = self.metadata, self.spec.output.uri
        if prefix is None:
            raise NoOutput(
                "spec.output.uri: required where no runtime gives one; with `embedtune run`, for"
                " example file:///tmp/models"
            )
        return f"{prefix.rstrip('/')}/{meta.namespace}/{meta.name}/{meta.uid}/"

    def trainer_input(self) -> dict[str, Any]:
        """What the trainer is given: the job without its status."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": self.metadata.model_dump(exclude={"labels", "annotations"}),
            "spec": self.spec.to_dict(),
        }
