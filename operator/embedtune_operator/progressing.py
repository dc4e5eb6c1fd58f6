"""Checks that find how far the child Job and its pod are."""

from embedtune_api import reasons
from embedtune_operator.failures import failure_of, is_final
from embedtune_operator.scene import Finding, Scene, confirm, pending
from embedtune_operator.suspension import let_go
from embedtune_operator.turns import made
from embedtune_operator.views import parse_time

NO_POD_AFTER_S = 10.0
"""A child Job normally has its pod within a second."""
STARTED_WITHIN_S = 2.0
"""A pod for which everything is there normally runs by then; the API server gives the time of its
making in whole seconds. Until then the status that says that it will start stands."""
VERDICT_WITHIN_S = 5.0
"""The Job controller normally ends a Job within a second of a failure that no retry can mend."""


def child_going(scene: Scene) -> Finding | None:
    """The child Job was deleted; two writers of one output must never run side by side."""
    child, name = scene.observed.child, scene.child_name
    if child is not None and child.id.deleting is not None:
        return pending(
            reasons.CHILD_DELETED, f"the Job {name} is being deleted; it is made again after that"
        )
    if child is None and scene.going:
        return pending(
            reasons.CHILD_DELETED,
            f"the Job {name} was deleted; it is made again when its pod"
            f" {scene.going[0].id.name} has ended",
        )
    return None


def no_child(scene: Scene) -> Finding | None:
    """The children are to be made."""
    if scene.observed.child is not None:
        return None
    reason, message = reasons.CREATED, made(scene.child_name)
    if scene.before.job_name is not None:
        if not scene.observed.confirmed:
            return confirm()
        if scene.before.state == "Suspended":
            reason = reasons.RESUMED
        else:
            message = f"the Job {scene.child_name} was deleted and is made again"
    return Finding("Pending", reason, message, make=True)


def pod_deleted(scene: Scene) -> Finding | None:
    """The running pod has been told to go."""
    pod = next((pod for pod in scene.going if pod.id.deleting is not None), None)
    if pod is None:
        return None
    if _deadline_passed(scene):
        return Finding("Pending", reasons.RETRYING, "", hold=True, again_after_s=VERDICT_WITHIN_S)
    cause = failure_of(pod)
    return Finding(
        "Pending",
        reasons.RETRYING,
        f"{pod.node_said}{cause.message if cause else 'the pod goes'}; another is made when it is"
        " gone, and goes on from the last checkpoint",
    )


def _deadline_passed(scene: Scene) -> bool:
    """Whether the Job controller has just deleted the pod itself, and is about to say why."""
    child = scene.observed.child
    if child is None or child.active_deadline_s is None or child.started is None:
        return False
    begun = parse_time(child.started)
    over = (scene.now - begun).total_seconds() - child.active_deadline_s if begun else -1.0
    return -1.0 <= over < VERDICT_WITHIN_S


def pod_pending(scene: Scene) -> Finding | None:
    """A pod is on its way."""
    pod = next((pod for pod in scene.going if not pod.running), None)
    if pod is None:
        return None
    made = parse_time(pod.id.created)
    age = (scene.now - made).total_seconds() if made else STARTED_WITHIN_S
    if scene.before.reason == reasons.CREATED and 0 <= age < STARTED_WITHIN_S:
        left = STARTED_WITHIN_S - age
        return Finding("Pending", reasons.POD_PENDING, "", hold=True, again_after_s=left)
    if not pod.node:
        return pending(
            reasons.POD_PENDING, f"{pod.node_said}the pod {pod.id.name} waits for a node"
        )
    waits = pod.waiting.reason if pod.waiting else ""
    detail = f" ({waits})" if waits not in ("", "ContainerCreating", "PodInitializing") else ""
    return pending(
        reasons.POD_PENDING,
        f"{pod.node_said}the pod {pod.id.name} is being started on node {pod.node}{detail}",
    )


def training(scene: Scene) -> Finding | None:
    """The trainer runs, on as many nodes as it needs."""
    pods = scene.trains
    if not pods:
        return None
    where = f"pod {pods[0].id.name}"
    if scene.nodes > 1:
        of_all = f" of {scene.nodes}" if len(pods) < scene.nodes else ""
        where = f"{len(pods)}{of_all} pods, the first of them {pods[0].id.name}"
    return Finding("Running", reasons.TRAINING, f"the trainer runs in {where}", running=True)


def between_attempts(scene: Scene) -> Finding | None:
    """An attempt failed, and the Job controller has not made the next pod yet."""
    failure, child = scene.failure, scene.observed.child
    gone = [p for p in scene.observed.pods if p.phase == "Failed" and p.id.deleting is None]
    if failure is None and scene.nodes > 1 and gone:
        return pending(
            reasons.RETRYING,
            "the pods end together, since one of them has ended or did not come; all of them are"
            " made anew, and go on from the last checkpoint",
        )
    if failure is None and not (child is not None and child.failed):
        return None
    failure = failure or scene.before.last_failure
    if failure is not None and is_final(failure):
        ended = parse_time(failure.time)
        if ended is not None and abs((scene.now - ended).total_seconds()) < VERDICT_WITHIN_S:
            return Finding("Pending", failure.reason, "", hold=True, again_after_s=VERDICT_WITHIN_S)
        return pending(failure.reason, f"{failure.message}. The Job controller has yet to end it")
    why = f"{failure.reason}: {failure.message}" if failure else "an attempt failed"
    return pending(
        reasons.RETRYING,
        f"{why}. Another pod is made after a while and goes on from the last checkpoint",
    )


def no_pod(scene: Scene) -> Finding | None:
    """The child Job is there, its pod is not, or not all of them are."""
    child, name = scene.observed.child, scene.child_name
    begun = parse_time(child.resumed or child.id.created) if child else None
    resumed = child is not None and child.resumed is not None and child.queue is None
    reason = reasons.RESUMED if resumed else reasons.CREATED
    age = (scene.now - begun).total_seconds() if begun else 0.0
    if age < NO_POD_AFTER_S:
        again = NO_POD_AFTER_S - age + 0.1
        message = f"the Job {name} is {let_go(child) if child and child.resumed else 'made'}"
        return Finding("Pending", reason, f"{message} and will start a pod", again_after_s=again)
    has = f"{len(scene.going)} of its {scene.nodes} pods" if scene.going else "no pod yet"
    return pending(
        reason,
        f"the Job {name} has {has}; `kubectl describe job {name} -n"
        f" {scene.job.metadata.namespace}` says why, most often a quota or an admission policy",
    )
