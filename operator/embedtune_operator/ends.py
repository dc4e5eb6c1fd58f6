"""Checks that find the training to be over, or its child Job to be."""

from dataclasses import replace
from decimal import Decimal

from embedtune_api import reasons
from embedtune_operator.failures import NoResult, is_final, train_result
from embedtune_operator.names import ATTEMPTS_MAX
from embedtune_operator.scene import Finding, Scene, confirm, failed
from embedtune_operator.suspension import GOES_ON


def trainer_done(scene: Scene) -> Finding | None:
    """A pod ended well; it is believed only with a model in the place that the job gives."""
    done = [
        pod
        for pod in scene.observed.pods
        if pod.first and pod.terminated and pod.terminated.exit_code == 0
    ]
    if not done or done[-1].terminated is None:
        return None
    pod, uri = done[-1].id.name, scene.job.output_uri
    try:
        result = train_result(done[-1].terminated.message)
    except NoResult as error:
        return failed(
            reasons.UNKNOWN_EXIT,
            f"the trainer in pod {pod} ended without reporting a model: {error}. Check that the"
            " trainer's image belongs to this operator's version",
        )
    if result.failure is not None and result.model is None:
        return failed(result.failure.reason, result.failure.message)
    if result.model is None or result.model.uri.rstrip("/") != uri.rstrip("/"):
        where = f"at {result.model.uri}" if result.model else "nowhere"
        return failed(
            reasons.UNKNOWN_EXIT,
            f"the trainer in pod {pod} reports its model {where} and not at {uri}. Check that the"
            " trainer's image belongs to this operator's version",
        )
    place = f"the model is at {result.model.uri}"
    if result.failure is not None:
        why = f"{result.failure.message}; {place}"
        return Finding("Failed", result.failure.reason, why, stalled=True, result=result)
    reason = reasons.IMPROVED if result.gated else reasons.SUCCEEDED
    return Finding("Complete", reason, place, result=result)


def overfull(scene: Scene) -> Finding | None:
    """The kubelet ended the pod because of what it wrote, which the next one would write again.

    The Job controller does not see that where the trainer had the time to end by itself.
    """
    failure = scene.failure
    if failure is None or failure.reason != reasons.EPHEMERAL_STORAGE_EXCEEDED:
        return None
    return replace(failed(failure.reason, failure.message), stop=True)


def followed(scene: Scene) -> Finding | None:
    """The Job controller has given up, but another child Job can do what this one could not.

    Nothing in a Job can tell a pod that was killed because it overran its grace period from one
    that was out of memory, so the Job fails on both.
    """
    child, failure = scene.observed.child, scene.failure
    ended = child.condition("Failed", "FailureTarget") if child else None
    if ended is None or ended.reason != "PodFailurePolicy" or scene.attempt == ATTEMPTS_MAX:
        return None
    if not scene.observed.confirmed:
        return confirm()
    hungry = failure is not None and failure.reason == reasons.OOM_KILLED
    if hungry and scene.job.spec.run_policy.on_out_of_memory == "moreMemory":
        if scene.before.memory is not None:
            return None
        memory = twice(scene.memory)
        why = f"{scene.memory} of memory were not enough: another pod is made with {memory}"
    elif _told_to_go(scene):
        memory = None
        why = "the pod was killed before it had ended by itself: another one is made"
    else:
        return None
    if scene.job.spec.suspend:
        return Finding(
            "Suspended", reasons.SUSPENDED, GOES_ON, suspended=True, follow=True, memory=memory
        )
    message = f"{why}, and goes on from the last checkpoint"
    return Finding("Pending", reasons.RETRYING, message, make=True, follow=True, memory=memory)


def _told_to_go(scene: Scene) -> bool:
    """Whether the pod that the Job failed on was one that had been told to end."""
    failure = scene.failure
    if failure is not None and failure.reason == reasons.POD_DELETED:
        return True
    if failure is not None and is_final(failure):
        return False
    # a pod that a suspension took is no failure, and what else failed was no reason to give up
    return scene.before.reason in (
        reasons.SUSPENDING,
        reasons.SUSPENDED,
        reasons.RESUMED,
        reasons.QUEUED,
    )


def twice(quantity: str) -> str:
    """Twice a Kubernetes quantity, in its own unit."""
    number = quantity.rstrip("mkKMGTi")
    return f"{(Decimal(number) * 2).normalize():f}{quantity.removeprefix(number)}"


def child_failed(scene: Scene) -> Finding | None:
    """The Job controller has given up."""
    child = scene.observed.child
    ended = child.condition("Failed", "FailureTarget") if child else None
    if ended is None:
        return None
    if not scene.observed.confirmed:
        return confirm()
    failure = scene.failure or scene.before.last_failure
    last = f" The last attempt: {failure.reason}: {failure.message}" if failure else ""
    if ended.reason == "DeadlineExceeded":
        limit = scene.job.spec.run_policy.active_deadline_seconds
        return failed(
            reasons.DEADLINE_EXCEEDED,
            f"not done within spec.runPolicy.activeDeadlineSeconds ({limit}): make the job again"
            f" with more time or less work.{last}",
        )
    if ended.reason == "BackoffLimitExceeded":
        limit = scene.job.spec.run_policy.backoff_limit
        return failed(
            reasons.BACKOFF_LIMIT_EXCEEDED,
            f"more attempts failed than spec.runPolicy.backoffLimit ({limit}) retries.{last}",
        )
    if failure is not None:
        return failed(failure.reason, failure.message)
    return failed(reasons.UNKNOWN_EXIT, f"{ended.reason}: {ended.message}")


def result_lost(scene: Scene) -> Finding | None:
    """The child Job is complete, and no pod is left that says with what."""
    child = scene.observed.child
    if child is None or child.condition("Complete") is None:
        return None
    if not scene.observed.confirmed:
        return confirm()
    return failed(
        reasons.CHILD_DELETED,
        f"the training ended well, but its pod was deleted before its result was read. If"
        f" {scene.job.output_uri}manifest.json exists, the model there is whole",
    )
