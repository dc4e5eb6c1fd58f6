"""One frozen value that holds all that a decision may depend on, gathered without any I/O."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from embedtune_api.status import Progress
from embedtune_operator.cache import Cache
from embedtune_operator.children import ChildJob, Pod
from embedtune_operator.names import SIZER, attempt_of, child_name, remover_name, sizer_name
from embedtune_operator.views import StoredJob, StoredRuntime

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server has refused a child, and it is not asked again before `retry_at`."""

    kind: str
    message: str
    retry_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Observed:
    """What the cluster holds for one FineTuneJob."""

    child: ChildJob | None = None
    pods: tuple[Pod, ...] = ()
    """The child's pods, oldest first; without a child, those that a deleted one left behind."""
    progress: Progress | None = None
    """What the running pod's metrics said last."""
    refusal: Refusal | None = None
    confirmed: bool = False
    """Whether child, pods and runtimes were just read from the API server, not only watched."""
    runtimes: tuple[StoredRuntime, ...] = ()
    """Those that the job can use, while it has not begun."""
    sizer: ChildJob | None = None
    """The Job that finds out what the job needs."""
    sizer_pods: tuple[Pod, ...] = ()
    """Its pods, oldest first."""
    remover: ChildJob | None = None
    """The Job that removes the model of a deleted FineTuneJob."""
    remover_pods: tuple[Pod, ...] = ()
    """Its pods, oldest first."""


def attempt(job: StoredJob) -> int:
    """Which of its Jobs a FineTuneJob has now, from 1; as its status says."""
    return attempt_of(job.status().get("jobName"), job.id.name, job.id.uid)


def begun(status: JsonObject) -> bool:
    """Whether a FineTuneJob of this status was begun, and by which runtime is settled."""
    return "runtime" in status or "jobName" in status


def observe(
    cache: Cache,
    job: StoredJob,
    *,
    progress: dict[str, Progress],
    refusal: Refusal | None,
    confirmed: bool,
) -> Observed:
    """Read one job's world from the cache; progress is by pod uid."""
    name, uid = job.id.name, job.id.uid
    child = cache.child_of(uid, child_name(name, uid, attempt(job)))
    remover = cache.child_of(uid, remover_name(name, uid))
    sizer = cache.child_of(uid, sizer_name(name, uid))
    pods = cache.pods_of(uid)
    sizing = tuple(pod for pod in pods if sizer and pod.owner == sizer.id.uid)
    pods = tuple(pod for pod in pods if pod.component != SIZER)
    removing = tuple(pod for pod in pods if remover and pod.owner == remover.id.uid)
    if child is not None:
        # labels are anyone's to set in that namespace; the owner reference must agree
        pods = tuple(pod for pod in pods if pod.owner == child.id.uid)
    else:
        pods = tuple(pod for pod in pods if pod not in removing)
    running = [pod for pod in pods if pod.running and pod.first]
    return Observed(
        child=child,
        pods=pods,
        progress=progress.get(running[-1].id.uid) if running else None,
        refusal=refusal,
        confirmed=confirmed,
        runtimes=() if begun(job.status()) else cache.runtimes_for(job.id.namespace),
        sizer=sizer,
        sizer_pods=sizing,
        remover=remover,
        remover_pods=removing,
    )
