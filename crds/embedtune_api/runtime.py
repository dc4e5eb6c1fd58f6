"""FineTuneRuntime and ClusterFineTuneRuntime: the platform's blueprint for training pods.

Both have one spec; they differ in who can use them (one namespace, or all) and who may write them.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.fields import DnsLabel, ObjectName, OutputUri, Quantity, cel
from embedtune_api.podpatch import MountPath, Object, PodTemplatePatch
from embedtune_api.run import SecretRef

RuntimeKind = Literal["FineTuneRuntime", "ClusterFineTuneRuntime"]
RUNTIME: Final = "FineTuneRuntime"
CLUSTER_RUNTIME: Final = "ClusterFineTuneRuntime"
RUNTIME_KINDS: Final[tuple[RuntimeKind, ...]] = (RUNTIME, CLUSTER_RUNTIME)
NAMESPACE_WORD: Final = "{namespace}"
"""What stands for the job's namespace in output.uri."""


def plural_of(kind: str) -> str:
    """What a kind of runtime is called in URLs."""
    return f"{kind.lower()}s"


_SUBDOMAIN: Final = "[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_LABEL_KEY: Final = f"^({_SUBDOMAIN}/)?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?$"
_KEYS_RULE: Final = (
    f"self.all(k, k.matches('{_LABEL_KEY}'))",
    "a label's key is a name of at most 63 characters, such as pool or example.com/pool",
)


def _label_keys(labels: dict[str, str]) -> dict[str, str]:
    if not all(re.fullmatch(_LABEL_KEY, key) for key in labels):
        raise ValueError(_KEYS_RULE[1])
    return labels


LabelValue = Annotated[
    str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$")
]
NodeSelector = Annotated[
    dict[str, LabelValue],
    Field(max_length=32, json_schema_extra=cel(_KEYS_RULE)),
    AfterValidator(_label_keys),
]
_EVERY_KEY: Final = (
    "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
    "give key, or operator Exists for every key",
)
_NO_VALUE: Final = (
    "!has(self.value) || self.value == '' || !has(self.operator) || self.operator != 'Exists'",
    "give value or operator Exists, not both",
)
_FOR_A_WHILE: Final = (
    "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
    "tolerationSeconds is for effect NoExecute alone",
)


class Toleration(ApiModel):
    """A taint that the pod may run beside, as in a pod's spec."""

    key: Annotated[str, Field(max_length=316, pattern=_LABEL_KEY)] | None = None
    """The taint's key. Default: every key, with operator Exists."""
    operator: Literal["Exists", "Equal"] | None = None
    """How the taint's value is compared. Default Equal."""
    value: LabelValue | None = None
    """The taint's value, with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect. Default: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds that it is tolerated, with NoExecute. Default: for ever."""

    model_config = ConfigDict(json_schema_extra=cel(_EVERY_KEY, _NO_VALUE, _FOR_A_WHILE))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        exists = self.operator == "Exists"
        if self.key is None and not exists:
            raise ValueError(_EVERY_KEY[1])
        if self.value and exists:
            raise ValueError(_NO_VALUE[1])
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError(_FOR_A_WHILE[1])
        return self


Tolerations = Annotated[tuple[Toleration, ...], Field(max_length=32)]


class RuntimeStorage(ApiModel):
    """The S3 service of jobs that name none."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+/?$", max_length=512)] | None = None
    """URL of the S3 service, for example http://minio.minio.svc:9000. Default: the chart's."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    """Region of the S3 service. Default: the chart's."""
    secret_ref: SecretRef | None = None
    """
    The Secret with the S3 keys of jobs that name none. It is looked for in each job's own
    namespace. Default: none, and S3 is used without signing in.
    """


class RuntimeOutput(ApiModel):
    """Where models go whose jobs do not say."""

    uri: OutputUri
    """
    A prefix; {namespace} in it stands for the job's namespace. Models are put under
    PREFIX/NAMESPACE/NAME/UID/. Required.
    """


class ResourceClass(ApiModel):
    """What a pod has, where its job does not say, and where it may run."""

    cpu: Quantity | None = None
    """CPU cores, for example "4" or 500m. Default: the chart's."""
    memory: Quantity | None = None
    """Memory, for example 16Gi. Default: the chart's."""
    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    """Number of GPUs. Default: the chart's."""
    gpu_resource: Annotated[
        str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9._-]+$")
    ] = "nvidia.com/gpu"
    """What GPUs are called in the nodes' capacity. Default nvidia.com/gpu."""
    node_selector: NodeSelector = Field(default_factory=dict)
    """Labels of the nodes, beside the runtime's. Default: none."""
    tolerations: Tolerations = ()
    """Taints of the nodes, beside the runtime's. Default: none."""


class RuntimeVolume(ApiModel):
    """A claim that every pod sees, such as a cache of models."""

    name: Annotated[
        str, Field(min_length=1, max_length=50, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    ]
    """Its name among these volumes. Required."""
    claim_name: ObjectName
    """A PersistentVolumeClaim in the job's namespace. Required."""
    mount_path: MountPath
    """Folder in the pod. Required."""
    read_only: bool = True
    """Whether nothing can be written there. Default true."""


_APART: Final = (
    "self.all(v, self.exists_one(w, w.name == v.name)"
    " && self.exists_one(w, w.mountPath == v.mountPath))",
    "each volume has a name and a mountPath of its own",
)


def _apart(volumes: tuple[RuntimeVolume, ...]) -> tuple[RuntimeVolume, ...]:
    if _repeats(v.name for v in volumes) or _repeats(v.mount_path for v in volumes):
        raise ValueError(_APART[1])
    return volumes


def _repeats(words: Iterable[str]) -> bool:
    found = list(words)
    return len(set(found)) < len(found)


RuntimeVolumes = Annotated[
    tuple[RuntimeVolume, ...],
    Field(max_length=16, json_schema_extra=cel(_APART)),
    AfterValidator(_apart),
]
_RESERVED: Final = ("AWS_", "EMBEDTUNE_", "WANDB_", "MLFLOW_")
_RESERVED_NAMES: Final = ("HOME", "TMPDIR", "HF_TOKEN", "OMP_NUM_THREADS", "PYTHONUNBUFFERED")
_ENV_RULE = (
    f"!(self.name in {list(_RESERVED_NAMES)})"
    f" && !{list(_RESERVED)}.exists(p, self.name.startsWith(p))",
    f"{', '.join(_RESERVED_NAMES)} and what begins with {', '.join(_RESERVED)} is the operator's"
    " or the job's to set",
)


class RuntimeEnv(ApiModel):
    """An environment variable of the trainer."""

    name: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Its name, for example HTTPS_PROXY. Required."""
    value: Annotated[str, Field(max_length=4096)]
    """Its value, taken as it stands. Required."""

    model_config = ConfigDict(json_schema_extra=cel(_ENV_RULE))

    @model_validator(mode="after")
    def _free(self) -> Self:
        if self.name in _RESERVED_NAMES or self.name.startswith(_RESERVED):
            raise ValueError(_ENV_RULE[1])
        return self


_CLASS_RULE = (
    "!has(self.defaultResourceClass) || (has(self.resourceClasses)"
    " && self.defaultResourceClass in self.resourceClasses)",
    "defaultResourceClass must be one of resourceClasses",
)


class RuntimeSpec(ApiModel):
    """What the platform gives to the jobs that use it. A job's own word goes before it."""

    default: bool = False
    """
    Whether it is taken by jobs that name no runtime. A FineTuneRuntime of the job's namespace goes
    before a ClusterFineTuneRuntime; two in one place hold such jobs up. Default false.
    """
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")] | None = None
    """The trainer's image; it must belong to the operator's version. Default: the chart's."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled. Default: the chart's."""
    pull_secrets: Annotated[tuple[ObjectName, ...], Field(max_length=16)] | None = None
    """Names of image pull Secrets in the jobs' namespaces. Default: the chart's."""
    storage: RuntimeStorage = RuntimeStorage()
    """The S3 service of jobs that name none."""
    output: RuntimeOutput | None = None
    """Where models go whose jobs do not say. Default: each job must say so."""
    resource_classes: Annotated[dict[str, ResourceClass], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """What pods ask for, by names that jobs give in resources.className. Default: none."""
    default_resource_class: DnsLabel | None = None
    """The class of jobs that name none. Default: none, and they have the chart's defaults."""
    node_selector: NodeSelector = Field(default_factory=dict)
    """Labels of the nodes that pods may run on. Default: any."""
    tolerations: Tolerations = ()
    """Taints that pods may run beside. Default: that of GPU nodes, for pods with GPUs."""
    affinity: Object | None = None
    """As in a pod's spec. Default: none."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods. Default: the cluster's."""
    queue_name: DnsLabel | None = None
    """Kueue's LocalQueue in the job's namespace, which decides when pods start. Default: none."""
    volumes: RuntimeVolumes = ()
    """Claims that every pod sees, such as a cache of models. Default: none."""
    env: Annotated[tuple[RuntimeEnv, ...], Field(max_length=64)] = ()
    """Environment variables of the trainer, such as a proxy's. Default: none."""
    pod_template_patch: PodTemplatePatch | None = None
    """What else of the pods is to be otherwise. Default: nothing."""
    allow_private_addresses: bool | None = None
    """
    Whether images that data names by https:// may lie on private addresses, such as the cluster's
    own services. Default: the chart's.
    """

    model_config = ConfigDict(json_schema_extra=cel(_CLASS_RULE))

    @model_validator(mode="after")
    def _class_exists(self) -> Self:
        name = self.default_resource_class
        if name is not None and name not in self.resource_classes:
            raise ValueError(_CLASS_RULE[1])
        return self


class RuntimeRef(ApiModel):
    """The runtime that a job uses."""

    name: ObjectName
    """Its name. Required."""
    kind: RuntimeKind = "FineTuneRuntime"
    """
    FineTuneRuntime, one of the job's namespace, or ClusterFineTuneRuntime. Default FineTuneRuntime.
    """
