"""FineTuneJob as a whole: metadata, spec and status."""

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from embedtune_api import API_VERSION, KIND
from embedtune_api.base import ApiModel, InvalidJob
from embedtune_api.spec import FineTuneJobSpec

NAME_MAX = 52
"""A job's name, a dash and 8 characters of its uid name its children, 63 characters at most with
the pod's suffix cut from it."""
LOCAL_UID: Final = "local"
"""Of a job that is in no cluster."""


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


class FineTuneJob(ApiModel):
    """A FineTuneJob: the file a user writes, the resource in the cluster, the trainer's input."""

    api_version: Literal["embedtune.dev/v1alpha1"] = "embedtune.dev/v1alpha1"
    kind: Literal["FineTuneJob"] = "FineTuneJob"
    metadata: JobMetadata
    spec: FineTuneJobSpec
    status: dict[str, Any] | None = None

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
            "metadata": self.metadata.to_dict(),
            "spec": self.spec.to_dict(),
        }
