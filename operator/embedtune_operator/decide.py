"""From a job and what was observed to what should be done: pure, and the heart of the operator."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from embedtune_api import reasons
from embedtune_api.base import InvalidJob
from embedtune_api.contract import PHASES
from embedtune_api.job import FineTuneJob
from embedtune_api.status import FineTuneJobStatus, Progress
from embedtune_operator.conditions import conditions, is_finished
from embedtune_operator.failures import failures_of
from embedtune_operator.findings import Finding, Scene, find
from embedtune_operator.manifests import child_job, child_name, config_map
from embedtune_operator.observe import Observed
from embedtune_operator.settings import Settings
from embedtune_operator.turns import Turn, turns
from embedtune_operator.views import ChildJob, StoredJob

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order."""

    children: tuple[JsonObject, ...] = ()
    """Children to make, each to be in place before the next."""
    child_patch: JsonObject | None = None
    """Merge patch for the child Job, for the few fields that may change in its life."""
    status: JsonObject | None = None
    """The status to write; None if it stands as it should."""
    events: tuple[Turn, ...] = ()
    """What to tell, once the status is written."""
    confirm: bool = False
    """Read child and pods from the API server and decide again; nothing else is set."""
    again_after_s: float | None = None
    """Decide again after this time at the latest."""


def decide(stored: StoredJob, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """What to do for one job. The same arguments give the same plan, to the byte."""
    current = stored.status()
    if is_finished(current):
        return _finished(stored, current, observed)
    before = _status_before(current)
    try:
        job = FineTuneJob.parse(stored.manifest())
    except InvalidJob as error:
        finding = Finding("Failed", reasons.BAD_SPEC, f"{error}", stalled=True)
        return _plan(stored, current, before, _status(stored, before, None, finding, now), finding)
    failures = failures_of(observed.child, observed.pods)
    scene = Scene(
        job=job,
        child_name=child_name(stored.id.name, stored.id.uid),
        before=before,
        observed=observed,
        now=now,
        failure=failures[-1] if failures else None,
    )
    finding = find(scene)
    if finding.confirm:
        return Plan(confirm=True)
    if finding.hold:
        return Plan(again_after_s=finding.again_after_s)
    status = _status(stored, before, scene, finding, now)
    plan = _plan(stored, current, before, status, finding)
    return Plan(
        children=(config_map(job), child_job(job, settings)) if finding.make else (),
        child_patch=_run_policy_patch(job, observed.child),
        status=plan.status,
        events=plan.events,
        again_after_s=finding.again_after_s,
    )


def _finished(stored: StoredJob, current: JsonObject, observed: Observed) -> Plan:
    """A terminal condition is never taken back, and its job's children are never made again."""
    status = None
    if current.get("observedGeneration") != stored.generation:
        status = current | {"observedGeneration": stored.generation}
    try:
        job = FineTuneJob.parse(stored.manifest())
    except InvalidJob:
        return Plan(status=status)
    child, ttl = observed.child, job.spec.run_policy.ttl_seconds_after_finished
    patch = None
    if child is not None and child.id.deleting is None and ttl != child.ttl_s:
        patch = {"spec": {"ttlSecondsAfterFinished": ttl}}
    return Plan(child_patch=patch, status=status)


def _status_before(current: JsonObject) -> FineTuneJobStatus:
    try:
        return FineTuneJobStatus.parse(current)
    except InvalidJob:  # written by another version or by hand; all but the terminal is re-derived
        return FineTuneJobStatus()


def _plan(
    stored: StoredJob,
    current: JsonObject,
    before: FineTuneJobStatus,
    after: FineTuneJobStatus,
    finding: Finding,
) -> Plan:
    document = after.to_dict()
    if document == current:
        return Plan(again_after_s=finding.again_after_s)
    return Plan(
        status=document,
        events=turns(stored.id, before, after, finding),
        again_after_s=finding.again_after_s,
    )


def _status(
    stored: StoredJob,
    before: FineTuneJobStatus,
    scene: Scene | None,
    finding: Finding,
    now: datetime,
) -> FineTuneJobStatus:
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    observed = scene.observed if scene else Observed()
    result = finding.result
    finished = finding.state in ("Complete", "Failed")
    begun = [p.started for p in observed.pods if p.started is not None]
    failure = (scene.failure if scene else None) or before.last_failure
    return FineTuneJobStatus(
        observed_generation=stored.generation,
        state=finding.state,
        reason=finding.reason,
        conditions=conditions(before.conditions, finding, stored.generation, stamp),
        job_name=before.job_name if scene is None else scene.child_name,
        start_time=before.start_time or (min(begun) if begun else None),
        completion_time=stamp if finished else None,
        restarts=max(before.restarts, _failed_attempts(observed)),
        progress=_progress(before, observed, finding),
        metrics=result.metrics if result else before.metrics,
        model=result.model if result else None,
        last_failure=failure,
    )


def _failed_attempts(observed: Observed) -> int:
    counted = observed.child.failed if observed.child else 0
    return max(counted, len(failures_of(observed.child, observed.pods)))


def _progress(before: FineTuneJobStatus, observed: Observed, finding: Finding) -> Progress | None:
    last = before.progress
    if finding.result is not None:
        last = last or Progress(summary="", phase="", percent=0, epoch=0, step=0, steps=0)
        return last.model_copy(
            update={
                "summary": "100%",
                "phase": PHASES[-1],
                "percent": 100,
                "step": last.steps,
                "eta_seconds": None,
                "samples_per_second": None,
            }
        )
    if finding.state == "Failed":
        return last
    if not finding.running:
        return None  # until the next attempt says where it goes on
    return observed.progress or (last if before.reason == reasons.TRAINING else None)


def _run_policy_patch(job: FineTuneJob, child: ChildJob | None) -> JsonObject | None:
    if child is None or child.id.deleting is not None:
        return None
    policy = job.spec.run_policy
    spec: JsonObject = {}
    if child.backoff_limit != policy.backoff_limit:
        spec["backoffLimit"] = policy.backoff_limit
    if child.active_deadline_s != policy.active_deadline_seconds:
        spec["activeDeadlineSeconds"] = policy.active_deadline_seconds
    return {"spec": spec} if spec else None
