"""spec.output, storage, resources and runPolicy: where a job runs, and where its model goes."""

from typing import Annotated

from pydantic import Field

from embedtune_api.base import ApiModel
from embedtune_api.fields import OutputUri, Quantity


class Output(ApiModel):
    """Where the model goes."""

    uri: OutputUri
    """
    A prefix; the model is put under PREFIX/NAMESPACE/NAME/UID/, its manifest.json written last.
    Required.
    """


class SecretRef(ApiModel):
    """A Secret in the job's own namespace."""

    name: Annotated[
        str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    ]
    """Name of the Secret. Required."""


class Storage(ApiModel):
    """The S3 service, and with whose key it is used."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+/?$", max_length=512)] | None = None
    """
    URL of the S3 service, for example http://minio.minio.svc:9000. Default: the platform's, as
    set in the chart (with `embedtune run`: the environment's AWS_ENDPOINT_URL), or else AWS.
    """
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    """Region of the S3 service. Default: the platform's, or us-east-1."""
    hf_token_secret_ref: SecretRef | None = None
    """
    The Secret with the key HF_TOKEN for hf://, in the job's own namespace. Default: none, and
    only what is public can be had.
    """
    secret_ref: SecretRef | None = None
    """
    The Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, optional,
    AWS_SESSION_TOKEN, in the job's own namespace. Default: none, and S3 is used without signing in.
    """


class Resources(ApiModel):
    """What the training pod asks for. CPU, memory and GPUs are requests and limits at once."""

    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    """Number of nvidia.com/gpu. Default: the platform's (0 unless set in the chart)."""
    cpu: Quantity | None = None
    """CPU cores, for example "4" or 500m. Default: the platform's."""
    memory: Quantity | None = None
    """Memory, for example 16Gi. Default: the platform's."""


class RunPolicy(ApiModel):
    """When to retry, to give up and to clean up."""

    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """
    Failures that are retried before the job fails; what no retry can mend fails at once. Default 3.
    """
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds after which a job that is not done fails. Default: none."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """
    Seconds after which a finished job's pod and its logs are removed. The FineTuneJob and the
    model stay. Default: never.
    """
