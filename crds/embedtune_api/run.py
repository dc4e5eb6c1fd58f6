"""spec.output, storage, resources and runPolicy: where a job runs, and where its model goes."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.checkpoints import Checkpoints
from embedtune_api.fields import DnsLabel, OutputUri, Quantity, cel

# has(): the API server holds the default {} against the rules before it fills that in
_SAFETENSORS = (
    "!has(self.formats) || 'safetensors' in self.formats",
    "formats always has safetensors",
)
_ONNX = ("!has(self.onnx) || 'onnx' in self.formats", "onnx needs formats: [safetensors, onnx]")


class Onnx(ApiModel):
    """The ONNX graphs that are written."""

    precision: Annotated[
        tuple[Literal["float32", "float16", "int8"], ...], Field(min_length=1, max_length=3)
    ] = ("float32",)
    """
    float32, which embeds as the model does to 1e-4; float16, half the size; int8, matrices in 8
    bits. What a smaller one loses of the headline metric is in onnx/onnx.json. Default float32.
    """


class Output(ApiModel):
    """Where the model goes, and as what."""

    uri: OutputUri | None = None
    """
    A prefix; the model is put under PREFIX/NAMESPACE/NAME/UID/, its manifest.json written last.
    Default: the runtime's; required where that gives none.
    """
    formats: Annotated[
        tuple[Literal["safetensors", "onnx"], ...], Field(min_length=1, max_length=2)
    ] = ("safetensors",)
    """
    safetensors always; with onnx also graphs with pooling, projection and normalisation, in the
    model's folder onnx/. Default safetensors.
    """
    onnx: Onnx | None = None
    """Which graphs, where formats has onnx. Default: one in float32."""
    retain: bool = True
    """
    Whether the model stays when the FineTuneJob is deleted. With false, a finalizer holds the
    deletion back until a pod with the job's own credentials has removed PREFIX/NAMESPACE/NAME/UID/,
    ten minutes at most. Default true.
    """

    model_config = ConfigDict(json_schema_extra=cel(_SAFETENSORS, _ONNX))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "safetensors" not in self.formats:
            raise ValueError(_SAFETENSORS[1])
        if self.onnx is not None and "onnx" not in self.formats:
            raise ValueError(_ONNX[1])
        return self

    @property
    def precisions(self) -> tuple[str, ...]:
        """Of the graphs that are written, each once; none where formats has no onnx."""
        if "onnx" not in self.formats:
            return ()
        return tuple(dict.fromkeys((self.onnx or Onnx()).precision))


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
    AWS_SESSION_TOKEN, in the job's own namespace. Default: the runtime's, or none, and S3 is used
    without signing in.
    """


class Resources(ApiModel):
    """What the training pod asks for. CPU, memory and GPUs are requests and limits at once."""

    class_name: DnsLabel | None = None
    """
    One of the runtime's resource classes, for what is left out here. Default: the runtime's
    default class, if it has one.
    """
    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    """Number of GPUs. Default: the class's, or the platform's (0 unless set in the chart)."""
    cpu: Quantity | None = None
    """CPU cores, for example "4" or 500m. Default: the class's, or the platform's."""
    memory: Quantity | None = None
    """Memory, for example 16Gi. Default: the class's, or the platform's."""


Seconds = Annotated[int, Field(ge=1, le=31_536_000)]


class RunPolicy(ApiModel):
    """When to retry, to give up and to clean up."""

    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """
    Failures that are retried before the job fails; what no retry can mend fails at once. A pod
    that was evicted, preempted, deleted or lost with its node is replaced and not counted. Default
    3.
    """
    active_deadline_seconds: Seconds | None = None
    """
    Seconds after which a job that is not done fails, retries and waiting included. They begin anew
    when a suspended job is resumed. Default: none.
    """
    pending_deadline_seconds: Seconds | None = None
    """
    Seconds after which a job fails that has no running pod, be it for want of a node, an image, a
    Secret or quota. They begin anew after a failed attempt and when a suspended job is resumed.
    Default: none.
    """
    on_out_of_memory: Literal["fail", "moreMemory"] = "fail"
    """
    What follows when the pod runs out of memory: fail, or moreMemory for one more attempt with
    twice the memory, which goes on from the last checkpoint. Default fail.
    """
    checkpoints: Checkpoints = Checkpoints()
    """
    What a retry goes on from. Cannot be changed. Default: a checkpoint every 10 minutes, the newest
    2 kept.
    """
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """
    Seconds after which a finished job's pod and its logs are removed, and the FineTuneJob itself
    if ttlPolicy says so. The model stays unless output.retain is false. Default: never.
    """
    ttl_policy: Literal["pods", "job"] = "pods"
    """
    What ttlSecondsAfterFinished removes: pods, or job for the FineTuneJob with all its own. A job
    that Argo CD, Flux or Helm keeps track of stays in either case: they would make it, and so train
    it, again. Default pods.
    """
