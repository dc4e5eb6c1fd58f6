"""What the operator keeps of an API object: small frozen values, read leniently.

Whole objects are not kept: ten thousand of them would fill the operator's memory, and most of each
is nobody's business here. Fields that are absent read as empty; what the API server stores is
well-formed, and what it does not promise (a status written by hand) must not stop a reconcile.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from embedtune_api import contract
from embedtune_api.base import InvalidJob
from embedtune_api.job import FineTuneJob
from embedtune_api.runtime import RuntimeKind
from embedtune_operator import queues
from embedtune_operator.names import (
    LABEL_COMPONENT,
    LABEL_INDEX,
    LABEL_JOB_NAME,
    LABEL_JOB_UID,
)

JsonObject = dict[str, Any]
Raw = Mapping[str, Any]

READ_KEPT = 256
"""How many jobs and statuses are kept as read, since what changes is looked at several times."""

_TRACKING_LABELS = (
    "app.kubernetes.io/instance",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
)
_TRACKING_ANNOTATIONS = ("argocd.argoproj.io/tracking-id", "meta.helm.sh/release-name")


def parse_time(text: object) -> datetime | None:
    """An API timestamp, or None if there is none."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:  # a status can be written by hand
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """What every object has."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    created: str
    deleting: str | None
    """deletionTimestamp."""

    @classmethod
    def of(cls, raw: Raw) -> "Identity":
        """Read metadata."""
        meta = raw["metadata"]
        version = str(meta.get("resourceVersion", ""))
        return cls(
            namespace=meta.get("namespace", ""),
            name=meta["name"],
            uid=meta["uid"],
            resource_version=int(version) if version.isdigit() else 0,
            created=meta.get("creationTimestamp", ""),
            deleting=meta.get("deletionTimestamp"),
        )


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A FineTuneJob as stored, its body kept as JSON text, a fifth of the objects' size."""

    id: Identity
    generation: int
    finalizers: tuple[str, ...]
    tracked: bool
    """Whether a tool that would make it again if it were deleted keeps track of it."""
    state: str
    reason: str
    observed_generation: int
    """That of which the status tells; 0 if of none."""
    _manifest: bytes
    _status: bytes

    @classmethod
    def of(cls, raw: Raw) -> "StoredJob":
        """Keep name, spec and status."""
        meta, status = raw["metadata"], raw.get("status") or {}
        manifest = {
            "apiVersion": raw.get("apiVersion"),
            "kind": raw.get("kind"),
            "metadata": {k: meta.get(k) for k in ("name", "namespace", "uid", "generation")}
            | {k: queues.handed_on(meta.get(k)) for k in ("labels", "annotations")},
            "spec": raw.get("spec"),
        }
        return cls(
            id=Identity.of(raw),
            generation=meta.get("generation", 1),
            finalizers=tuple(meta.get("finalizers") or ()),
            tracked=any(label in (meta.get("labels") or ()) for label in _TRACKING_LABELS)
            or any(note in (meta.get("annotations") or ()) for note in _TRACKING_ANNOTATIONS),
            state=str(status.get("state") or "Pending"),
            reason=str(status.get("reason") or ""),
            observed_generation=status.get("observedGeneration") or 0,
            _manifest=_compact(manifest),
            _status=_compact(status),
        )

    @property
    def new(self) -> bool:
        """Whether nothing was decided about it yet."""
        return not self.reason

    @property
    def asked_anew(self) -> bool:
        """Whether its user has changed or deleted it, and no answer is written yet."""
        return self.id.deleting is not None or self.generation > self.observed_generation > 0

    @property
    def facts(self) -> dict[str, object]:
        """What every log line about it holds."""
        return {
            "job": self.id.name,
            "namespace": self.id.namespace,
            "uid": self.id.uid,
            "generation": self.generation,
        }

    def job(self) -> FineTuneJob:
        """What the user wrote.

        Raises:
            InvalidJob: it does not parse.
        """
        found = _job(self._manifest)
        if isinstance(found, str):
            raise InvalidJob(found)
        return found

    def status(self) -> JsonObject:
        """The status as stored; not to be changed."""
        return _object(self._status)


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@lru_cache(READ_KEPT)
def _object(text: bytes) -> JsonObject:
    found: JsonObject = json.loads(text)
    return found


@lru_cache(READ_KEPT)
def _job(manifest: bytes) -> FineTuneJob | str:
    """The job, or what is wrong with it."""
    try:
        return FineTuneJob.parse(json.loads(manifest))
    except InvalidJob as error:
        return str(error)


@dataclass(frozen=True, slots=True)
class StoredRuntime:
    """A FineTuneRuntime or ClusterFineTuneRuntime as stored."""

    id: Identity
    kind: RuntimeKind
    generation: int
    default: bool
    """Whether jobs that name no runtime take it."""
    body: bytes

    @classmethod
    def of(cls, kind: RuntimeKind, raw: Raw) -> "StoredRuntime":
        """Keep name and spec; what a listing gives does not always say its kind."""
        spec = raw.get("spec") or {}
        return cls(
            id=Identity.of(raw),
            kind=kind,
            generation=raw["metadata"].get("generation", 1),
            default=spec.get("default") is True,
            body=_compact(spec),
        )

    def spec(self) -> JsonObject:
        """The spec."""
        spec: JsonObject = json.loads(self.body)
        return spec


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that is True."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ChildJob:
    """A batch/v1 Job of ours."""

    id: Identity
    owner: str
    """uid of the FineTuneJob."""
    conditions: tuple[Condition, ...]
    failed: int
    started: str | None
    suspend: bool
    """spec.suspend, which the Job controller follows."""
    queue: str | None
    """The queue that Kueue starts it from; spec.suspend is Kueue's then."""
    resumed: str | None
    """When it was last resumed from a suspension."""
    nodes: int
    """spec.completions: how many pods train together."""
    backoff_limit: int | None
    active_deadline_s: int | None
    ttl_s: int | None

    @classmethod
    def of(cls, raw: Raw) -> "ChildJob":
        """Keep what decisions need."""
        spec, status = raw.get("spec", {}), raw.get("status") or {}
        return cls(
            id=Identity.of(raw),
            # one that removes a model has no owner: it outlives the FineTuneJob's deletion
            owner=_controller(raw) or raw["metadata"].get("labels", {}).get(LABEL_JOB_UID, ""),
            conditions=_conditions(status),
            failed=status.get("failed", 0),
            started=status.get("startTime"),
            suspend=bool(spec.get("suspend")),
            queue=raw["metadata"].get("labels", {}).get(queues.QUEUE),
            resumed=_resumed(status),
            nodes=spec.get("completions") or 1,
            backoff_limit=spec.get("backoffLimit"),
            active_deadline_s=spec.get("activeDeadlineSeconds"),
            ttl_s=spec.get("ttlSecondsAfterFinished"),
        )

    def condition(self, *types: str) -> Condition | None:
        """The first of these conditions that is True."""
        return next((c for c in self.conditions if c.type in types), None)

    @property
    def ended(self) -> bool:
        """Whether it will never make a pod again."""
        return self.condition("Complete", "Failed", "FailureTarget") is not None

    @property
    def suspended(self) -> bool:
        """Whether it is to have no pod, or the Job controller has not seen yet that it may."""
        return self.suspend or self.condition("Suspended") is not None

    def suspended_away(self, pod: "Pod") -> bool:
        """Whether the Job controller deleted this pod of its because it was suspended."""
        if pod.id.deleting is None:
            return False
        return self.suspended or (self.resumed is not None and pod.id.created < self.resumed)


@dataclass(frozen=True, slots=True)
class Terminated:
    """The trainer's container has ended."""

    exit_code: int
    reason: str
    message: str
    finished: str | None


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a child Job, with the state of its trainer container."""

    id: Identity
    owner: str
    """uid of the batch/v1 Job, empty if it was orphaned."""
    job_uid: str
    job_name: str
    index: int | None
    """Which node it is of a job with several, from 0."""
    component: str
    """What it is for; see names."""
    phase: str
    reason: str
    message: str
    ip: str
    node: str
    memory: str
    """The container's memory limit."""
    unschedulable: str
    """The scheduler's message."""
    disrupted: Condition | None
    started: str | None
    """When the running container was started."""
    waiting: Condition | None
    """Why the container is not made yet."""
    terminated: Terminated | None

    @classmethod
    def of(cls, raw: Raw) -> "Pod":
        """Keep what decisions need."""
        status = raw.get("status") or {}
        state = _trainer(status.get("containerStatuses")).get("state") or {}
        limits = (_trainer(raw["spec"].get("containers")).get("resources") or {}).get("limits", {})
        waiting, ended = state.get("waiting"), state.get("terminated")
        return cls(
            id=Identity.of(raw),
            owner=_controller(raw),
            job_uid=raw["metadata"].get("labels", {}).get(LABEL_JOB_UID, ""),
            job_name=raw["metadata"].get("labels", {}).get(LABEL_JOB_NAME, ""),
            index=_index(raw),
            component=raw["metadata"].get("labels", {}).get(LABEL_COMPONENT, ""),
            phase=status.get("phase", "Pending"),
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            ip=status.get("podIP", ""),
            node=raw["spec"].get("nodeName", ""),
            memory=limits.get("memory", ""),
            unschedulable=_unschedulable(status),
            disrupted=next((c for c in _conditions(status) if c.type == "DisruptionTarget"), None),
            started=(state.get("running") or ended or {}).get("startedAt"),
            waiting=Condition(
                "Waiting", str(waiting.get("reason", "")), str(waiting.get("message", ""))
            )
            if waiting
            else None,
            terminated=_terminated(ended) if ended else None,
        )

    @property
    def first(self) -> bool:
        """Whether it is the one that reports, writes checkpoints and has the result."""
        return not self.index

    @property
    def node_said(self) -> str:
        """Which node it is, at the begin of a message; empty where there is one."""
        return "" if self.index is None else f"node {self.index}: "

    @property
    def finished(self) -> bool:
        """Whether it will never run again."""
        return self.phase in ("Succeeded", "Failed") or self.terminated is not None

    @property
    def running(self) -> bool:
        """Whether the trainer works in it."""
        return not self.finished and self.phase == "Running" and self.waiting is None


def _index(raw: Raw) -> int | None:
    text = str(raw["metadata"].get("labels", {}).get(LABEL_INDEX, ""))
    return int(text) if text.isdecimal() else None


def _terminated(ended: Raw) -> Terminated:
    return Terminated(
        exit_code=int(ended.get("exitCode", -1)),
        reason=str(ended.get("reason", "")),
        message=str(ended.get("message", "")),
        finished=ended.get("finishedAt"),
    )


def _controller(raw: Raw) -> str:
    references = raw["metadata"].get("ownerReferences") or ()
    return next((str(r["uid"]) for r in references if r.get("controller")), "")


def _conditions(status: Raw) -> tuple[Condition, ...]:
    return tuple(
        Condition(c["type"], c.get("reason") or "", c.get("message") or "")
        for c in status.get("conditions") or ()
        if c.get("status") == "True"
    )


def _resumed(status: Raw) -> str | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == "Suspended" and condition["status"] == "False":
            return str(condition.get("lastTransitionTime", ""))
    return None


def _trainer(containers: list[JsonObject] | None) -> JsonObject:
    return next((c for c in containers or () if c.get("name") == contract.CONTAINER), {})


def _unschedulable(status: Raw) -> str:
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason") or "no node was found")
    return ""
