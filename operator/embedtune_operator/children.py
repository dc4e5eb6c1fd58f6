"""What the operator keeps of a child Job and of its pods: small frozen values, as of views."""

from dataclasses import dataclass

from embedtune_api import contract
from embedtune_operator import queues
from embedtune_operator.names import (
    LABEL_COMPONENT,
    LABEL_INDEX,
    LABEL_JOB_NAME,
    LABEL_JOB_UID,
)
from embedtune_operator.views import Identity, JsonObject, Raw


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
