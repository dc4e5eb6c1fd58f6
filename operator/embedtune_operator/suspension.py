"""Checks that find the job to be suspended, or on its way to or from it.

The child Job's spec.suspend follows the job's (decide.py). The Job controller deletes its pod then,
which has its grace period to write a checkpoint, and makes another one on resuming.
"""

from embedtune_api import reasons
from embedtune_operator.children import ChildJob
from embedtune_operator.queues import QUEUE
from embedtune_operator.scene import Finding, Scene, pending, stuck


def suspended(scene: Scene) -> Finding | None:
    """The user wants no pod."""
    if not scene.job.spec.suspend:
        return None
    child, pod = scene.observed.child, next(iter(scene.going), None)
    if pod is not None:
        return Finding(
            "Suspended",
            reasons.SUSPENDING,
            f"the pod {pod.id.name} is told to write a checkpoint and to end",
        )
    if child is not None and not child.ended and child.condition("Suspended") is None:
        return Finding(
            "Suspended", reasons.SUSPENDING, f"the Job {scene.child_name} is told to have no pod"
        )
    return Finding("Suspended", reasons.SUSPENDED, GOES_ON, suspended=True)


GOES_ON = "spec.suspend is true: no pod runs. With false the job goes on from its last checkpoint"


def queued(scene: Scene) -> Finding | None:
    """Kueue holds the child Job: it has not let it in, or has taken its pods for another job."""
    child = scene.observed.child
    if child is None or child.queue is None or not child.suspend:
        return None
    name = child.id.name
    where = f"`kubectl get workloads -n {scene.job.metadata.namespace}` says where it stands"
    if scene.going:
        return pending(
            reasons.QUEUED,
            f"Kueue has suspended the Job {name}: its pod {scene.going[0].id.name}"
            " writes a checkpoint and ends. The job goes on from there when the queue"
            f" {child.queue} lets it in again; {where}",
        )
    return pending(
        reasons.QUEUED,
        f"the queue {child.queue} has not let the Job {name} in yet; {where}",
    )


def held(scene: Scene) -> Finding | None:
    """Somebody else has suspended the child Job, which is in no queue; they may resume it."""
    child = scene.observed.child
    if child is None or child.queue is not None or not child.suspend:
        return None
    if scene.before.state == "Suspended":  # the operator has, and is about to resume it
        return None
    return stuck(
        reasons.QUEUED,
        f"the Job {child.id.name} is in no queue, and another than the operator has suspended it."
        " Kueue does so where every Job must be in one: make the FineTuneJob again with the label"
        f" {QUEUE} and all of spec.resources, or where there is a LocalQueue called default",
    )


def let_go(child: ChildJob) -> str:
    """What has been done to a Job that was suspended."""
    return "resumed" if child.queue is None else f"let in by the queue {child.queue}"


def resuming(scene: Scene) -> Finding | None:
    """The user wants a pod again, and the Job controller has yet to make it."""
    child = scene.observed.child
    if child is None:
        return None
    reason = reasons.RESUMED if child.queue is None else reasons.CREATED
    pod = next((pod for pod in scene.going if child.suspended_away(pod)), None)
    if pod is not None:
        return pending(
            reason,
            f"the pod {pod.id.name} still writes its checkpoint; another is made when it has"
            " ended, and goes on from there",
        )
    if not scene.going and child.suspended:
        return pending(reason, f"the Job {scene.child_name} is {let_go(child)}")
    return None
