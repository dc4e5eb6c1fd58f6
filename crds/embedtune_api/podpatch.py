"""spec.podTemplatePatch of a runtime: what may be laid over a training pod, field by field.

Only what is listed here can be said. A list of what is forbidden would have to know every field
that Kubernetes will ever have; with this one, the API server refuses what would loosen the pod (the
host's namespaces and folders, tokens, security contexts) or make it another one (containers, their
images and commands) because there is no such field.
"""

from itertools import islice
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel, levels
from embedtune_api.fields import DnsLabel, ObjectName, Quantity, cel

NESTED_MAX: Final = 32
"""Levels of such a part; a pod's own go down ten. The job's status holds the runtime, deeper than
the runtime does, and what that cannot hold must not begin."""


def _readable(part: dict[str, Any]) -> dict[str, Any]:
    if next(islice(levels(part), NESTED_MAX, None), None):
        raise ValueError(f"nested too deeply: more than {NESTED_MAX} levels")
    return part


Object = Annotated[dict[str, Any], AfterValidator(_readable)]
"""A part of Kubernetes' own API, checked when the pod's Job is made."""

_WHOLE: Final = ("/work",)
_BELOW: Final = ("/etc/embedtune", "/pvc", "/dev", "/proc", "/sys", "/var/run/secrets")
_PATH_RULE = (
    f"!(self in {list(_WHOLE)}) && !{[f'{p}/' for p in _BELOW]}.exists(p,"
    " (self + '/').startsWith(p))",
    "mountPath must not cover what the trainer needs: /work itself, or anything in "
    + ", ".join(_BELOW),
)


def _free(path: str) -> str:
    if path in _WHOLE or any(f"{path}/".startswith(f"{p}/") for p in _BELOW):
        raise ValueError(_PATH_RULE[1])
    return path


MountPath = Annotated[
    str,
    Field(
        max_length=512,
        pattern=r"^(/[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*)+$",
        json_schema_extra=cel(_PATH_RULE),
    ),
    AfterValidator(_free),
]

_OURS = "embedtune.dev/ or app.kubernetes.io/"
_LABELS_RULE = (
    "self.all(k, !k.startsWith('embedtune.dev/') && !k.startsWith('app.kubernetes.io/'))",
    f"labels that begin with {_OURS} are the operator's own",
)


def _not_ours(labels: dict[str, str]) -> dict[str, str]:
    if any(key.startswith(("embedtune.dev/", "app.kubernetes.io/")) for key in labels):
        raise ValueError(_LABELS_RULE[1])
    return labels


Words = Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32)]
Labels = Annotated[
    dict[str, Annotated[str, Field(max_length=63)]],
    Field(max_length=32, json_schema_extra=cel(_LABELS_RULE)),
    AfterValidator(_not_ours),
]


class PatchMetadata(ApiModel):
    """Metadata of the pods."""

    labels: Labels = Field(default_factory=dict)
    """Labels beside the operator's own, such as a cost centre's. Default: none."""
    annotations: Words = Field(default_factory=dict)
    """Annotations, such as a service mesh's or a PodGroup scheduler's. Default: none."""


class VolumeMount(ApiModel):
    """Where one of the volumes is seen."""

    name: DnsLabel
    """The volume's name. Required."""
    mount_path: MountPath
    """Folder in the container. Required."""
    sub_path: Annotated[str, Field(max_length=512)] | None = None
    """Folder within the volume. Default: the whole volume."""
    read_only: bool = False
    """Whether nothing can be written there. Default false, as in a pod."""


_RESOURCES_RULE = (
    "['cpu', 'memory'].all(r, (!has(self.requests) || !(r in self.requests))"
    " && (!has(self.limits) || !(r in self.limits)))",
    "cpu and memory are those of the job or of its resource class",
)


class PatchResources(ApiModel):
    """Resources beside CPU, memory and GPUs."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """Requests by resource name, such as ephemeral-storage. Default: none."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """Limits by resource name, such as rdma/hca. Default: none."""

    model_config = ConfigDict(json_schema_extra=cel(_RESOURCES_RULE))

    @model_validator(mode="after")
    def _others_only(self) -> Self:
        if {"cpu", "memory"} & {*self.requests, *self.limits}:
            raise ValueError(_RESOURCES_RULE[1])
        return self


class PatchContainer(ApiModel):
    """The trainer's container; no other can be added."""

    name: Literal["trainer"]
    """Always trainer. Required."""
    resources: PatchResources = PatchResources()
    """Resources beside those of the job and its class. Default: none."""
    volume_mounts: Annotated[tuple[VolumeMount, ...], Field(max_length=32)] = ()
    """Where the volumes of this patch are seen. Default: none."""


_SOURCES = (
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    "secret",
)
_ONE_SOURCE = (
    f"[{', '.join(f'has(self.{name})' for name in _SOURCES)}].filter(x, x).size() == 1",
    f"give a volume exactly one of {', '.join(_SOURCES)}",
)
_VOLUME_NAME = (
    "self.name != 'job' && !self.name.startsWith('claim-') && !self.name.startsWith('runtime-')",
    "the volumes job, claim-* and runtime-* are the operator's own; take another name",
)


class PatchVolume(ApiModel):
    """A volume of the kinds that the restricted Pod Security Standard knows, projected aside."""

    name: DnsLabel
    """Its name; work or shm replaces the operator's own folder of that name. Required."""
    config_map: Object | None = None
    """A ConfigMap in the job's namespace."""
    csi: Object | None = None
    """An ephemeral volume of a CSI driver."""
    downward_api: Object | None = Field(default=None, alias="downwardAPI")
    """Fields of the pod."""
    empty_dir: Object | None = None
    """An empty folder of the node, or of its memory."""
    ephemeral: Object | None = None
    """A claim that lives as long as the pod."""
    persistent_volume_claim: Object | None = None
    """A claim in the job's namespace."""
    secret: Object | None = None
    """A Secret in the job's namespace."""

    model_config = ConfigDict(json_schema_extra=cel(_ONE_SOURCE, _VOLUME_NAME))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.to_dict()) != 2:
            raise ValueError(_ONE_SOURCE[1])
        if self.name == "job" or self.name.startswith(("claim-", "runtime-")):
            raise ValueError(_VOLUME_NAME[1])
        return self


class PatchSecurity(ApiModel):
    """Groups by which a shared volume can be read; the rest of the security context stands."""

    fs_group: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Group that volumes are given to. Default 65532, the trainer's own."""
    fs_group_change_policy: Literal["OnRootMismatch", "Always"] | None = None
    """When a volume's files are given to that group. Default Always."""
    supplemental_groups: Annotated[
        tuple[Annotated[int, Field(ge=1, le=2**31 - 1)], ...], Field(max_length=16)
    ] = ()
    """Other groups that the trainer belongs to. Default: none."""


class PatchPodSpec(ApiModel):
    """The pods' spec, as far as it may be changed."""

    containers: Annotated[tuple[PatchContainer, ...], Field(max_length=1)] = ()
    """The trainer's container. Default: as the operator makes it."""
    volumes: Annotated[tuple[PatchVolume, ...], Field(max_length=32)] = ()
    """Volumes beside the operator's own. Default: none."""
    security_context: PatchSecurity = PatchSecurity()
    """Groups of the trainer."""
    dns_config: Object | None = None
    """Name servers and search paths. Default: the cluster's."""
    dns_policy: Literal["ClusterFirst", "Default", "None"] | None = None
    """Where names are looked up. Default ClusterFirst."""
    host_aliases: Annotated[tuple[Object, ...], Field(max_length=32)] = ()
    """Lines of /etc/hosts. Default: none."""
    preemption_policy: Literal["PreemptLowerPriority", "Never"] | None = None
    """Whether pods of lower priority make room. Default: the priority class's."""
    resource_claims: Annotated[tuple[Object, ...], Field(max_length=16)] = ()
    """Claims of dynamic resource allocation. Default: none."""
    runtime_class_name: ObjectName | None = None
    """The RuntimeClass, such as nvidia. Default: the node's own runtime."""
    scheduler_name: ObjectName | None = None
    """The scheduler. Default: the cluster's."""
    scheduling_gates: Annotated[tuple[Object, ...], Field(max_length=16)] = ()
    """Gates that another controller opens. Default: none."""
    termination_grace_period_seconds: Annotated[int, Field(ge=30, le=3600)] | None = None
    """Seconds that the trainer has to write a checkpoint when it is told to end. Default 60."""
    topology_spread_constraints: Annotated[tuple[Object, ...], Field(max_length=8)] = ()
    """How pods are spread. Default: the scheduler's."""


class PodTemplatePatch(ApiModel):
    """
    A strategic merge patch: maps are merged, lists by name, mountPath, ip or topologyKey as
    Kubernetes does it, everything else is replaced. It adds and replaces, and takes nothing away.
    """

    metadata: PatchMetadata = PatchMetadata()
    """Labels and annotations of the pods."""
    spec: PatchPodSpec = PatchPodSpec()
    """The pods' spec."""
