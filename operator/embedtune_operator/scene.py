"""What a check looks at, and what it finds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from embedtune_api import reasons
from embedtune_api.contract import TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.status import Condition, FineTuneJobStatus, LastFailure, RuntimeUsed, State
from embedtune_operator.blueprint import Blueprint, Unresolved, blueprint, runtime_of
from embedtune_operator.children import Pod
from embedtune_operator.failures import failures_of
from embedtune_operator.names import child_name
from embedtune_operator.observe import Observed, attempt, begun
from embedtune_operator.settings import Settings
from embedtune_operator.sized import found
from embedtune_operator.views import StoredJob


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a check may look at."""

    job: FineTuneJob
    """With what its runtime gives filled in, once that is known."""
    used: RuntimeUsed | None
    """The runtime that it is run by, settled or about to be."""
    made_by: Blueprint | Unresolved
    """What its pods are made by, or why that cannot be said yet."""
    attempt: int
    """Which of its Jobs the job has now, from 1."""
    before: FineTuneJobStatus
    """The status as it stands."""
    observed: Observed
    now: datetime
    memory: str
    """Of the present child Job's pods."""
    failure: LastFailure | None
    """The newest failed pod of the present child Job."""

    @property
    def child_name(self) -> str:
        """The present child Job's, whether it is there or not."""
        if self.observed.child is not None:
            return self.observed.child.id.name
        return child_name(self.job.metadata.name, self.job.metadata.uid, self.attempt)

    @property
    def nodes(self) -> int:
        """How many pods train together, or are to."""
        return self.job.spec.parallelism.nodes

    @property
    def trains(self) -> tuple[Pod, ...]:
        """The pods that run, by node; empty while they are too few, or the first is not there."""
        running = tuple(pod for pod in self.going if pod.running)
        enough = len(running) >= self.job.spec.parallelism.least
        return running if enough and running[0].first else ()

    @property
    def going(self) -> tuple[Pod, ...]:
        """The pods of the attempt that goes on, by node: of each the newest that has not ended."""
        newest = {pod.index: pod for pod in self.observed.pods if not pod.finished}
        return tuple(newest[index] for index in sorted(newest, key=lambda index: index or 0))

    def stood(self, kind: str) -> Condition | None:
        """A condition of the status as it stands."""
        return next((c for c in self.before.conditions if c.type == kind), None)


def see(
    stored: StoredJob,
    job: FineTuneJob,
    before: FineTuneJobStatus,
    observed: Observed,
    settings: Settings,
    now: datetime,
) -> Scene:
    """The scene of a job as it is stored; its runtime is settled once it was begun."""
    settled = begun(stored.status()) or observed.child is not None
    used, memory = before.runtime, before.memory or ""
    sized = before.resources or found(observed, settings)
    made_by: Blueprint | Unresolved
    try:
        if not settled:
            used = runtime_of(job, observed.runtimes, settings)
        made_by = blueprint(job, used, settings, sized)
    except Unresolved as why:
        made_by = why
    else:
        job, memory = made_by.job, memory or made_by.memory
    failures = failures_of(observed.child, observed.pods)
    return Scene(
        job=job,
        used=used,
        made_by=made_by,
        attempt=attempt(stored),
        before=before,
        observed=observed,
        now=now,
        memory=memory,
        failure=failures[-1] if failures else None,
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """Where the job stands, in the words of the status."""

    state: State
    reason: str
    message: str
    running: bool = False
    suspended: bool = False
    stalled: bool = False
    """Nothing will move without a person."""
    result: TrainResult | None = None
    make: bool = False
    """The children are to be made."""
    size: bool = False
    """Not the children but the Job that sizes them is to be made."""
    follow: bool = False
    """The child Job is to be followed by another, since its template cannot be changed."""
    memory: str | None = None
    """That other's memory, if it is to have another."""
    stop: bool = False
    """The child Job is to be ended."""
    hold: bool = False
    """Leave the status as it is: what comes next is about to be known."""
    confirm: bool = False
    """Look at the API server itself and decide again."""
    again_after_s: float | None = field(default=None, compare=False)
    """Decide again after this time though nothing may have happened."""


Check = Callable[[Scene], Finding | None]


def pending(reason: str, message: str) -> Finding:
    """It is on its way."""
    return Finding("Pending", reason, message)


def stuck(reason: str, message: str) -> Finding:
    """It is on its way, and a person has to clear it."""
    return Finding("Pending", reason, message, stalled=True)


def failed(reason: str, message: str) -> Finding:
    """It is over."""
    return Finding("Failed", reason, message, stalled=True)


def confirm() -> Finding:
    """What is absent from the watches is to be looked for."""
    return Finding("Pending", reasons.CREATED, "", confirm=True)
