"""The checks that say where a job stands: the first that finds something decides.

Each is a pure function of the Scene, named after what it finds; their order in CHECKS is the order
of what matters most. A conclusion that rests on something being absent is only drawn from a
confirmed observation, since the watches of Jobs and pods run independently of each other.
"""

from dataclasses import replace

from embedtune_api import reasons
from embedtune_operator.ends import child_failed, followed, overfull, result_lost, trainer_done
from embedtune_operator.obstacles import (
    image_missing,
    missing_config,
    refused,
    unresolved,
    unschedulable,
)
from embedtune_operator.progressing import (
    between_attempts,
    child_going,
    no_child,
    no_pod,
    pod_deleted,
    pod_pending,
    training,
)
from embedtune_operator.scene import Check, Finding, Scene
from embedtune_operator.sizing import sizing, too_large
from embedtune_operator.suspension import held, queued, resuming, suspended
from embedtune_operator.views import parse_time

CHECKS: tuple[Check, ...] = (
    unresolved,  # first: all others may rely on the output's place
    trainer_done,
    overfull,
    followed,
    child_failed,
    result_lost,
    suspended,
    refused,
    child_going,
    sizing,
    too_large,
    no_child,
    queued,
    held,
    resuming,
    pod_deleted,
    training,
    missing_config,
    image_missing,
    unschedulable,
    pod_pending,
    between_attempts,
    no_pod,
)


def find(scene: Scene) -> Finding:
    """Where the job stands."""
    for check in CHECKS:
        found = check(scene)
        if found is not None:
            return _within_deadline(scene, found)
    raise AssertionError("no_pod always finds something")


def _within_deadline(scene: Scene, found: Finding) -> Finding:
    """What was found, unless the job has been waiting for too long already."""
    limit = scene.job.spec.run_policy.pending_deadline_seconds
    if limit is None or found.state != "Pending" or found.confirm:
        return found
    if found.reason == reasons.QUEUED:  # a queue is for waiting
        return found
    left = limit - _waited_s(scene)
    if left > 0:
        return replace(found, again_after_s=min(left, found.again_after_s or left))
    if found.hold:
        return found
    return Finding(
        "Failed",
        reasons.PENDING_DEADLINE_EXCEEDED,
        f"no pod has run within spec.runPolicy.pendingDeadlineSeconds ({limit}). It waited for"
        f" this: {found.reason}: {found.message}",
        stalled=True,
        stop=True,
    )


def _waited_s(scene: Scene) -> float:
    """Seconds since the job last ran or was suspended, or else since it was first seen.

    They begin anew when Kueue lets its Job in, which is a resumption of that Job.
    """
    stood = [c for c in map(scene.stood, ("Running", "Suspended")) if c is not None]
    if any(condition.status == "True" for condition in stood):
        return 0.0
    child = scene.observed.child
    stamps = [condition.last_transition_time for condition in stood]
    times = [parse_time(stamp) for stamp in (*stamps, child.resumed if child else None)]
    since = max((time for time in times if time is not None), default=scene.now)
    return (scene.now - since).total_seconds()
