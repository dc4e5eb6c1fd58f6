"""Checks that find the job to be suspended, or on its way to or from it.

The child Job's spec.suspend follows the job's (decide.py). The Job controller deletes its pod then,
which has its grace period to write a checkpoint, and makes another one on resuming.
"""

from embedtune_api import reasons
from embedtune_operator.scene import Finding, Scene, pending


def suspended(scene: Scene) -> Finding | None:
    """The user wants no pod."""
    if not scene.job.spec.suspend:
        return None
    child, pod = scene.observed.child, scene.current
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


def resuming(scene: Scene) -> Finding | None:
    """The user wants a pod again, and the Job controller has yet to make it."""
    child, pod = scene.observed.child, scene.current
    if child is None:
        return None
    if pod is not None and child.suspended_away(pod):
        return pending(
            reasons.RESUMED,
            f"the pod {pod.id.name} still writes its checkpoint; another is made when it has"
            " ended, and goes on from there",
        )
    if pod is None and child.suspend and scene.queue:
        return pending(
            reasons.QUEUED,
            f"the queue {scene.queue} has not let the Job {scene.child_name} in yet;"
            f" `kubectl get workloads -n {scene.job.metadata.namespace}` says where it stands",
        )
    if pod is None and child.suspended:
        return pending(reasons.RESUMED, f"the Job {scene.child_name} is resumed")
    return None
