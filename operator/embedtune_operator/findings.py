"""The checks that say where a job stands: the first that finds something decides.

Each is a pure function of the Scene, named after what it finds; their order in CHECKS is the order
of what matters most. A conclusion that rests on something being absent is only drawn from a
confirmed observation, since the watches of Jobs and pods run independently of each other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from embedtune_api import reasons
from embedtune_api.contract import FINAL_EXIT_CODES, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.status import FineTuneJobStatus, LastFailure, State
from embedtune_operator.failures import NoResult, failure_of, train_result
from embedtune_operator.observe import Observed
from embedtune_operator.views import Pod, parse_time

NO_POD_AFTER_S = 10.0
"""A child Job normally has its pod within a second."""
VERDICT_WITHIN_S = 5.0
"""The Job controller normally ends a Job within a second of a failure that no retry can mend."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a check may look at."""

    job: FineTuneJob
    child_name: str
    before: FineTuneJobStatus
    """The status as it stands."""
    observed: Observed
    now: datetime
    failure: LastFailure | None
    """The newest failed attempt of the present child Job."""

    @property
    def current(self) -> Pod | None:
        """The pod of the attempt that goes on."""
        return next((pod for pod in reversed(self.observed.pods) if not pod.finished), None)


@dataclass(frozen=True, slots=True)
class Finding:
    """Where the job stands, in the words of the status."""

    state: State
    reason: str
    message: str
    running: bool = False
    stalled: bool = False
    """Nothing will move without a person."""
    result: TrainResult | None = None
    make: bool = False
    """The children are to be made."""
    hold: bool = False
    """Leave the status as it is: what comes next is about to be known."""
    confirm: bool = False
    """Look at the API server itself and decide again."""
    again_after_s: float | None = field(default=None, compare=False)
    """Decide again after this time though nothing may have happened."""


Check = Callable[[Scene], Finding | None]


def _pending(reason: str, message: str) -> Finding:
    return Finding("Pending", reason, message)


def _stuck(reason: str, message: str) -> Finding:
    return Finding("Pending", reason, message, stalled=True)


def _failed(reason: str, message: str) -> Finding:
    return Finding("Failed", reason, message, stalled=True)


def _confirm() -> Finding:
    return Finding("Pending", reasons.CREATED, "", confirm=True)


def trainer_done(scene: Scene) -> Finding | None:
    """A pod ended well; it is believed only with a model in the place that the job gives."""
    done = [p for p in scene.observed.pods if p.terminated and p.terminated.exit_code == 0]
    if not done or done[-1].terminated is None:
        return None
    pod, uri = done[-1].id.name, scene.job.output_uri
    try:
        result = train_result(done[-1].terminated.message)
    except NoResult as error:
        return _failed(
            reasons.UNKNOWN_EXIT,
            f"the trainer in pod {pod} ended without reporting a model: {error}. Check that the"
            " trainer's image belongs to this operator's version",
        )
    if result.failure is not None and result.model is None:
        return _failed(result.failure.reason, result.failure.message)
    if result.model is None or result.model.uri.rstrip("/") != uri.rstrip("/"):
        where = f"at {result.model.uri}" if result.model else "nowhere"
        return _failed(
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


def child_failed(scene: Scene) -> Finding | None:
    """The Job controller has given up."""
    child = scene.observed.child
    ended = child.condition("Failed", "FailureTarget") if child else None
    if ended is None:
        return None
    if not scene.observed.confirmed:
        return _confirm()
    failure = scene.failure or scene.before.last_failure
    last = f" The last attempt: {failure.reason}: {failure.message}" if failure else ""
    if ended.reason == "DeadlineExceeded":
        limit = scene.job.spec.run_policy.active_deadline_seconds
        return _failed(
            reasons.DEADLINE_EXCEEDED,
            f"not done within spec.runPolicy.activeDeadlineSeconds ({limit}): make the job again"
            f" with more time or less work.{last}",
        )
    if ended.reason == "BackoffLimitExceeded":
        limit = scene.job.spec.run_policy.backoff_limit
        return _failed(
            reasons.BACKOFF_LIMIT_EXCEEDED,
            f"more attempts failed than spec.runPolicy.backoffLimit ({limit}) retries.{last}",
        )
    if failure is not None:
        return _failed(failure.reason, failure.message)
    return _failed(reasons.UNKNOWN_EXIT, f"{ended.reason}: {ended.message}")


def result_lost(scene: Scene) -> Finding | None:
    """The child Job is complete, and no pod is left that says with what."""
    child = scene.observed.child
    if child is None or child.condition("Complete") is None:
        return None
    if not scene.observed.confirmed:
        return _confirm()
    return _failed(
        reasons.CHILD_DELETED,
        f"the training ended well, but its pod was deleted before its result was read. If"
        f" {scene.job.output_uri}manifest.json exists, the model there is whole",
    )


def refused(scene: Scene) -> Finding | None:
    """The API server does not let the children be made."""
    refusal = scene.observed.refusal
    if refusal is None or scene.observed.child is not None or scene.now >= refusal.retry_at:
        return None
    wait = (refusal.retry_at - scene.now).total_seconds()
    return Finding(
        "Pending",
        reasons.CREATE_FAILED,
        f"the API server refuses this job's {refusal.kind}: {refusal.message}. It is tried again"
        " until it is let in",
        stalled=True,
        again_after_s=wait,
    )


def child_going(scene: Scene) -> Finding | None:
    """The child Job was deleted; two writers of one output must never run side by side."""
    child, name = scene.observed.child, scene.child_name
    if child is not None and child.id.deleting is not None:
        return _pending(
            reasons.CHILD_DELETED, f"the Job {name} is being deleted; it is made again after that"
        )
    if child is None and scene.current is not None:
        return _pending(
            reasons.CHILD_DELETED,
            f"the Job {name} was deleted; it is made again when its pod"
            f" {scene.current.id.name} has ended",
        )
    return None


def no_child(scene: Scene) -> Finding | None:
    """The children are to be made."""
    if scene.observed.child is not None:
        return None
    if scene.before.job_name is None:
        message = f"the Job {scene.child_name} is made and will start a pod"
    elif scene.observed.confirmed:
        message = f"the Job {scene.child_name} was deleted and is made again"
    else:
        return _confirm()
    return Finding("Pending", reasons.CREATED, message, make=True)


def pod_deleted(scene: Scene) -> Finding | None:
    """The running pod has been told to go."""
    pod = scene.current
    if pod is None or pod.id.deleting is None:
        return None
    if _deadline_passed(scene):
        return Finding("Pending", reasons.RETRYING, "", hold=True, again_after_s=VERDICT_WITHIN_S)
    cause = failure_of(pod)
    return Finding(
        "Pending",
        reasons.RETRYING,
        f"{cause.message if cause else 'the pod goes'}; another is made when it is gone, and"
        " goes on from the last checkpoint",
    )


def _deadline_passed(scene: Scene) -> bool:
    """Whether the Job controller has just deleted the pod itself, and is about to say why."""
    child = scene.observed.child
    if child is None or child.active_deadline_s is None or child.started is None:
        return False
    begun = parse_time(child.started)
    over = (scene.now - begun).total_seconds() - child.active_deadline_s if begun else -1.0
    return -1.0 <= over < VERDICT_WITHIN_S


def missing_config(scene: Scene) -> Finding | None:
    """The kubelet cannot put the container together."""
    waiting = scene.current.waiting if scene.current else None
    if waiting is None or waiting.reason not in (
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    ):
        return None
    return _stuck(
        reasons.CONTAINER_CONFIG_ERROR,
        f"the pod cannot start: {waiting.message or waiting.reason}"
        f"{_secret_hint(scene.job, waiting.message)}",
    )


def _secret_hint(job: FineTuneJob, message: str) -> str:
    """What to make, if the message is about one of the job's Secrets."""
    storage, wandb = job.spec.storage, job.spec.loggers.wandb
    for name, secret, keys in (
        (
            "storage.secretRef",
            storage.secret_ref,
            "keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ("storage.hfTokenSecretRef", storage.hf_token_secret_ref, "key HF_TOKEN"),
        ("loggers.wandb.secretRef", wandb.secret_ref if wandb else None, "key WANDB_API_KEY"),
    ):
        if secret is not None and "secret" in message.lower() and secret.name in message:
            return (
                f". Make the Secret {secret.name} in the namespace {job.metadata.namespace} with"
                f" the {keys} (spec.{name} names it)"
            )
    return ""


def image_missing(scene: Scene) -> Finding | None:
    """The kubelet cannot pull the image."""
    waiting = scene.current.waiting if scene.current else None
    if waiting is None or waiting.reason not in (
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    ):
        return None
    if waiting.reason == "ImagePullBackOff" and scene.before.reason == reasons.IMAGE_PULL_FAILED:
        # error and back-off alternate for ever, and only the error says what is wrong
        stands = next((c.message for c in scene.before.conditions if c.type == "Running"), "")
        if stands:
            return _stuck(reasons.IMAGE_PULL_FAILED, stands)
    return _stuck(
        reasons.IMAGE_PULL_FAILED,
        f"the trainer's image cannot be pulled: {waiting.message or waiting.reason}. Correct the"
        " trainer image or its pull secrets in the chart's values, then delete the Job"
        f" {scene.child_name}, which is made again",
    )


def unschedulable(scene: Scene) -> Finding | None:
    """No node can take the pod."""
    pod = scene.current
    if pod is None or not pod.unschedulable:
        return None
    return _pending(
        reasons.UNSCHEDULABLE,
        f"no node can take the pod: {pod.unschedulable} Add or free capacity, or make the job"
        " again with less in spec.resources",
    )


def pod_pending(scene: Scene) -> Finding | None:
    """The pod is on its way."""
    pod = scene.current
    if pod is None or pod.running:
        return None
    if not pod.node:
        return _pending(reasons.POD_PENDING, f"the pod {pod.id.name} waits for a node")
    waits = pod.waiting.reason if pod.waiting else ""
    detail = f" ({waits})" if waits not in ("", "ContainerCreating", "PodInitializing") else ""
    return _pending(
        reasons.POD_PENDING, f"the pod {pod.id.name} is being started on node {pod.node}{detail}"
    )


def training(scene: Scene) -> Finding | None:
    """The trainer runs."""
    pod = scene.current
    if pod is None:
        return None
    return Finding(
        "Running", reasons.TRAINING, f"the trainer runs in pod {pod.id.name}", running=True
    )


def between_attempts(scene: Scene) -> Finding | None:
    """An attempt failed, and the Job controller has not made the next pod yet."""
    failure, child = scene.failure, scene.observed.child
    if failure is None and not (child is not None and child.failed):
        return None
    failure = failure or scene.before.last_failure
    if (
        failure is not None
        and failure.exit_code in FINAL_EXIT_CODES
        and failure.reason != reasons.EVICTED
    ):
        ended = parse_time(failure.time)
        if ended is not None and abs((scene.now - ended).total_seconds()) < VERDICT_WITHIN_S:
            return Finding("Pending", failure.reason, "", hold=True, again_after_s=VERDICT_WITHIN_S)
        return _pending(failure.reason, f"{failure.message}. The Job controller has yet to end it")
    why = f"{failure.reason}: {failure.message}" if failure else "an attempt failed"
    return _pending(
        reasons.RETRYING,
        f"{why}. Another pod is made after a while and goes on from the last checkpoint",
    )


def no_pod(scene: Scene) -> Finding | None:
    """The child Job is there, its pod is not."""
    child = scene.observed.child
    made = parse_time(child.id.created) if child else None
    age = (scene.now - made).total_seconds() if made else 0.0
    if age < NO_POD_AFTER_S:
        return Finding(
            "Pending",
            reasons.CREATED,
            f"the Job {scene.child_name} is made and will start a pod",
            again_after_s=NO_POD_AFTER_S - age + 0.1,
        )
    return _pending(
        reasons.CREATED,
        f"the Job {scene.child_name} has no pod yet; `kubectl describe job {scene.child_name} -n"
        f" {scene.job.metadata.namespace}` says why, most often a quota or an admission policy",
    )


CHECKS: tuple[Check, ...] = (
    trainer_done,
    child_failed,
    result_lost,
    refused,
    child_going,
    no_child,
    pod_deleted,
    missing_config,
    image_missing,
    unschedulable,
    pod_pending,
    training,
    between_attempts,
    no_pod,
)


def find(scene: Scene) -> Finding:
    """Where the job stands."""
    for check in CHECKS:
        found = check(scene)
        if found is not None:
            return found
    raise AssertionError("no_pod always finds something")
