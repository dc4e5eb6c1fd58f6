"""From a job and what was observed to what should be done: pure, and the heart of the operator."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from embedtune_api import reasons
from embedtune_api.base import InvalidJob
from embedtune_api.contract import PHASES
from embedtune_api.job import FineTuneJob
from embedtune_api.status import (
    FineTuneJobStatus,
    LastFailure,
    Progress,
    RuntimeUsed,
    SizedResources,
)
from embedtune_operator.blueprint import Blueprint, Unresolved
from embedtune_operator.children import ChildJob
from embedtune_operator.conditions import TERMINAL, conditions, is_finished
from embedtune_operator.failures import failures_of, unknown_yet
from embedtune_operator.findings import find
from embedtune_operator.manifests import child_job, config_map, service, sizer_job
from embedtune_operator.names import FINALIZER, child_name
from embedtune_operator.observe import Observed
from embedtune_operator.plan import Plan
from embedtune_operator.scene import Finding, Scene, see
from embedtune_operator.settings import Settings
from embedtune_operator.turns import turns
from embedtune_operator.views import StoredJob, parse_time

JsonObject = dict[str, Any]


def decide(stored: StoredJob, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """What to do for one job. The same arguments give the same plan, to the byte."""
    current = stored.status()
    if is_finished(current):
        return _finished(stored, current, observed, now)
    before = _status_before(current)
    try:
        job = stored.job()
    except InvalidJob as error:
        finding = Finding("Failed", reasons.BAD_SPEC, f"{error}", stalled=True)
        return _plan(stored, current, before, _status(stored, before, None, finding, now), finding)
    if (
        not job.spec.output.retain
        and before.job_name is None
        and FINALIZER not in stored.finalizers
    ):
        return Plan(finalizer=True)  # before anything is started that writes what is to be removed
    scene = see(stored, job, before, observed, settings, now)
    finding = find(scene)
    if finding.confirm or (_counted_early(before, observed) and not observed.confirmed):
        return Plan(confirm=True)
    if finding.hold:
        return Plan(again_after_s=finding.again_after_s)
    return _go_on(stored, current, scene, finding)


def _counted_early(before: FineTuneJobStatus, observed: Observed) -> bool:
    """Whether the child Job counts a failure of a pod that is not seen, and would count again."""
    counted = observed.child.failed if observed.child else 0
    return counted > _failures_seen(before, observed)


def _failures_seen(before: FineTuneJobStatus, observed: Observed) -> int:
    """How many there were, by the status and by the pods that are there."""
    failures = failures_of(observed.child, observed.pods)
    return before.restarts + len(unknown_yet(failures, before.last_failure, observed.pods))


def _settle(scene: Scene) -> Plan:
    """Write down what the job is run by, before anything is made by it."""
    settled = {"runtime": scene.used, "output_uri": scene.job.output_uri}
    return Plan(status=scene.before.model_copy(update=settled).to_dict(), again=True)


def _go_on(stored: StoredJob, current: JsonObject, scene: Scene, finding: Finding) -> Plan:
    before = scene.before
    if finding.make and scene.used != before.runtime:
        return _settle(scene)
    status = _status(stored, before, scene, finding, scene.now)
    plan = _plan(stored, current, before, status, finding)
    return replace(
        plan,
        children=_children(scene, finding, status) if finding.make else (),
        child_patch=_child_patch(scene, finding),
        may_run=_may_run(scene),
    )


def _children(scene: Scene, finding: Finding, status: FineTuneJobStatus) -> tuple[JsonObject, ...]:
    made_by = scene.made_by
    if isinstance(made_by, Unresolved):
        return ()
    if finding.size:
        return config_map(scene.job), sizer_job(made_by)
    if status.memory is not None:
        made_by = replace(made_by, memory=status.memory)
    child = child_job(made_by, scene.attempt + finding.follow)
    between = (service(scene.job),) if scene.nodes > 1 else ()
    return config_map(scene.job), *between, child


def _finished(stored: StoredJob, current: JsonObject, observed: Observed, now: datetime) -> Plan:
    """A terminal condition is never taken back, and its job's children are never made again."""
    status = None
    if current.get("observedGeneration") != stored.generation:
        status = current | {"observedGeneration": stored.generation}
    try:
        job = stored.job()
    except InvalidJob:
        return Plan(status=status)
    patch = _ttl_patch(job, observed.child)
    left_s = None if stored.tracked else _left_s(job, current, now)
    if left_s is not None and left_s <= 0:
        return Plan(delete=True)
    return Plan(child_patch=patch, status=status, again_after_s=left_s)


def _left_s(job: FineTuneJob, current: JsonObject, now: datetime) -> float | None:
    """Seconds that a finished job itself has to live; None without an end."""
    policy = job.spec.run_policy
    if policy.ttl_policy != "job" or policy.ttl_seconds_after_finished is None:
        return None
    finished = parse_time(current.get("completionTime"))
    if finished is None:
        return None
    return (finished + timedelta(seconds=policy.ttl_seconds_after_finished) - now).total_seconds()


def _status_before(current: JsonObject) -> FineTuneJobStatus:
    try:
        return FineTuneJobStatus.parse(current)
    except InvalidJob:  # by another version or by hand; all but the terminal is derived anew,
        return FineTuneJobStatus(runtime=_runtime_before(current))  # and what was settled is kept


def _runtime_before(current: JsonObject) -> RuntimeUsed | None:
    used = current.get("runtime")
    try:
        return RuntimeUsed.parse(used) if isinstance(used, dict) else None
    except InvalidJob:
        return None


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
        # its child is told, or given its TTL, once that is written
        again=after.state in TERMINAL or after.state == "Suspended" != before.state,
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
    finished = finding.state in TERMINAL
    job_name = _job_name(scene, before, finding)
    begun = [p.started for p in observed.pods if p.started is not None]
    failures = _failures_seen(before, observed)
    return FineTuneJobStatus(
        observed_generation=stored.generation,
        state=finding.state,
        reason=finding.reason,
        conditions=conditions(before.conditions, finding, stored.generation, stamp),
        runtime=before.runtime,
        output_uri=scene.job.output_uri if scene and job_name else before.output_uri,
        job_name=job_name,
        memory=finding.memory or before.memory,
        resources=before.resources or _resources(scene),
        start_time=before.start_time or (min(begun) if begun else None),
        completion_time=stamp if finished else None,
        restarts=max(failures, observed.child.failed if observed.child else 0),
        progress=_progress(before, observed, finding),
        metrics=result.metrics if result else before.metrics,
        model=result.model if result else None,
        last_failure=_last_failure(scene, before),
    )


def _resources(scene: Scene | None) -> SizedResources | None:
    """What was found for what the job leaves out, with what is given in its place."""
    made_by = scene.made_by if scene else None
    if not isinstance(made_by, Blueprint) or made_by.sized is None:
        return None
    given = {"cpu": made_by.cpu, "memory": made_by.memory, "gpus": made_by.gpus}
    return made_by.sized.model_copy(update=given)


def _last_failure(scene: Scene | None, before: FineTuneJobStatus) -> LastFailure | None:
    """The newest; of a pod that goes, more is known once it is gone."""
    known, found = before.last_failure, scene.failure if scene else None
    pods = scene.observed.pods if scene else ()
    if found is None or (known is not None and not unknown_yet([found], known, pods)):
        return found if found and known and found.pod_name == known.pod_name else known
    return found


def _job_name(scene: Scene | None, before: FineTuneJobStatus, finding: Finding) -> str | None:
    made = finding.make and not finding.size
    if scene is None or not (made or finding.follow or scene.observed.child):
        return before.job_name
    meta = scene.job.metadata
    return child_name(meta.name, meta.uid, scene.attempt + finding.follow)


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
    if finding.state in ("Failed", "Suspended"):
        return last
    if not finding.running:
        return None  # until the next attempt says where it goes on
    return observed.progress or (last if before.reason == reasons.TRAINING else None)


def _child_patch(scene: Scene, finding: Finding) -> JsonObject | None:
    """What of the child Job is not as it should be, of that which can be changed."""
    job, child = scene.job, scene.observed.child
    if child is None or child.id.deleting is not None:
        return None
    if child.ended:  # its result is in the status, or it is followed by another
        return _ttl_patch(job, child) if finding.follow else None
    policy = job.spec.run_policy
    deadline_s = 1 if finding.stop else policy.active_deadline_seconds  # long past
    spec: JsonObject = {}
    if child.backoff_limit != policy.backoff_limit:
        spec["backoffLimit"] = policy.backoff_limit
    if child.active_deadline_s != deadline_s:
        spec["activeDeadlineSeconds"] = deadline_s
    # of a Job in a queue it is Kueue's alone, which is told what the user wants (_may_run); of
    # another the operator resumes what it has suspended itself, and that the status says before
    ours = child.queue is None and scene.before.state == "Suspended"
    if ours and child.suspend != job.spec.suspend:
        spec["suspend"] = job.spec.suspend
    return {"spec": spec} if spec else None


def _may_run(scene: Scene) -> bool | None:
    """What Kueue is to be told of the child Job: what the user wants, when that changes.

    It may let a Job in that the user has just suspended: then it is told again.
    """
    child, suspend = scene.observed.child, scene.job.spec.suspend
    if child is None or child.queue is None or child.ended or child.id.deleting is not None:
        return None
    known = scene.before.state == "Suspended"
    if suspend:
        return None if known and child.suspend else False
    return True if known else None


def _ttl_patch(job: FineTuneJob, child: ChildJob | None) -> JsonObject | None:
    ttl_s = job.spec.run_policy.ttl_seconds_after_finished
    if child is None or child.id.deleting is not None or ttl_s == child.ttl_s:
        return None
    return {"spec": {"ttlSecondsAfterFinished": ttl_s}}
