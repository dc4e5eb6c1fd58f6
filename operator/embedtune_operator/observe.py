"""One frozen value that holds all that a decision may depend on, gathered without any I/O."""

from dataclasses import dataclass
from datetime import datetime

from embedtune_api.status import Progress
from embedtune_operator.cache import Cache
from embedtune_operator.views import ChildJob, Pod


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
    """Whether child and pods were just read from the API server and not only from the watches."""


def observe(
    cache: Cache,
    job_uid: str,
    *,
    progress: dict[str, Progress],
    refusal: Refusal | None,
    confirmed: bool,
) -> Observed:
    """Read one job's world from the cache; progress is by pod uid."""
    child = cache.child_of(job_uid)
    pods = cache.pods_of(job_uid)
    if child is not None:
        # labels are anyone's to set in that namespace; the owner reference must agree
        pods = tuple(pod for pod in pods if pod.owner == child.id.uid)
    running = [pod for pod in pods if pod.running]
    return Observed(
        child=child,
        pods=pods,
        progress=progress.get(running[-1].id.uid) if running else None,
        refusal=refusal,
        confirmed=confirmed,
    )
