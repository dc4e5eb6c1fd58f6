"""What to do for a job that is being deleted and whose model is to go with it: pure, as decide.py.

Only jobs with output.retain false come here; no other job has the finalizer. The operator may read
no Secret, so a pod with the job's own credentials removes the model. Whatever stands in the way, a
deletion is held back for REMOVAL_LIMIT_S at most.
"""

from dataclasses import replace
from datetime import datetime

from embedtune_api import reasons
from embedtune_api.base import InvalidJob
from embedtune_api.status import RuntimeUsed
from embedtune_operator.blueprint import Blueprint, Unresolved, blueprint
from embedtune_operator.manifests import REMOVAL_LIMIT_S, remover_job
from embedtune_operator.observe import Observed
from embedtune_operator.plan import Plan
from embedtune_operator.settings import Settings
from embedtune_operator.turns import turn
from embedtune_operator.views import StoredJob, parse_time

NAMESPACE_GOES = "being terminated"
"""In the API server's words when it refuses a new object in a namespace that is being deleted."""


def decide_removal(
    stored: StoredJob, observed: Observed, settings: Settings, now: datetime
) -> Plan:
    """What to do for one job that has the finalizer and a deletionTimestamp."""
    if stored.status().get("jobName") is None and observed.child is None:
        # nothing was ever started that could have written
        return Plan(finalizer=False) if observed.confirmed else Plan(confirm=True)
    try:
        made_by = _made_by(stored, settings)
    except (InvalidJob, Unresolved) as error:
        return _give_up(stored, f"its spec cannot be read any more: {error}")
    job = made_by.job
    if observed.remover is not None and observed.remover.condition("Complete"):
        message = f"{job.output_uri} is removed"
        event = turn(stored.id, "", reasons.MODEL_REMOVED, message, warning=False)
        return Plan(events=(event,), finalizer=False)
    since = parse_time(stored.id.deleting)
    left_s = REMOVAL_LIMIT_S - (now - since).total_seconds() if since else 0.0
    why = _why_not(observed, left_s)
    if why is not None:
        return _give_up(stored, f"{why}; what is left is at {job.output_uri}")
    plan = _next(made_by, observed, now)
    return replace(plan, again_after_s=min(left_s, plan.again_after_s or left_s))


def _why_not(observed: Observed, left_s: float) -> str | None:
    """Why it is not tried any longer."""
    refusal = observed.refusal
    if observed.remover is not None and observed.remover.ended:
        ended = [pod.terminated for pod in observed.remover_pods if pod.terminated is not None]
        return ended[-1].message.strip() if ended else "the pod that should remove it failed"
    if refusal is not None and NAMESPACE_GOES in refusal.message:
        return "its namespace goes, too"
    if left_s <= 0:
        return refusal.message if refusal else f"it was not done in {REMOVAL_LIMIT_S} s"
    return None


def _made_by(stored: StoredJob, settings: Settings) -> Blueprint:
    """What the job's pods were made by.

    Raises:
        InvalidJob: its spec, or what its status keeps of the runtime, does not parse.
        Unresolved: what is kept does not say where the model is.
    """
    used = stored.status().get("runtime")
    job = stored.job()
    return blueprint(job, RuntimeUsed.parse(used) if used else None, settings)


def _next(made_by: Blueprint, observed: Observed, now: datetime) -> Plan:
    """The next step: the trainer ends, then another pod removes what it wrote."""
    child = observed.child
    # what its queue let in would write again
    queued = child is not None and child.queue is not None and not child.ended
    may_run = False if queued else None
    if _may_write(observed):
        told = child is None or child.suspend or child.ended
        if told:
            return Plan()
        return Plan(child_patch=None if queued else {"spec": {"suspend": True}}, may_run=may_run)
    if observed.remover is not None:
        return Plan()
    if observed.refusal is not None and now < observed.refusal.retry_at:
        return Plan(again_after_s=(observed.refusal.retry_at - now).total_seconds())
    return Plan(children=(remover_job(made_by),), may_run=may_run)


def _may_write(observed: Observed) -> bool:
    """Whether a trainer runs, or may yet be started."""
    child = observed.child
    if any(not pod.finished for pod in observed.pods):
        return True
    return not (
        child is None
        or child.ended
        or child.id.deleting
        or (child.suspend and child.condition("Suspended") is not None)
    )


def _give_up(stored: StoredJob, why: str) -> Plan:
    message = f"the model was not removed: {why}"
    event = turn(stored.id, "", reasons.MODEL_NOT_REMOVED, message, warning=True)
    return Plan(events=(event,), finalizer=False)
