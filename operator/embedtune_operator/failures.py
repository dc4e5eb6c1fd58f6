"""Why an attempt ended, told from what the kubelet and the trainer left in the pod."""

import json
import re
from collections.abc import Sequence

from embedtune_api import contract, reasons
from embedtune_api.base import InvalidJob
from embedtune_api.contract import ExitCode, TrainResult
from embedtune_api.status import LastFailure
from embedtune_operator.children import ChildJob, Pod, Terminated
from embedtune_operator.views import parse_time

TAIL_CHARACTERS = 2000
WITHIN_S = 120
"""Longest that the pods of several nodes, told to go together, differ in going."""
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_NODE_REASONS = ("NodeLost", "NodeShutdown", "Shutdown", "Terminated", "Preempting")


class NoResult(ValueError):
    """A termination message that is not a TrainResult; says what is wrong with it."""


def train_result(message: str) -> TrainResult:
    """The trainer's last word.

    Raises:
        NoResult: the message is not a TrainResult.
    """
    if not message.strip():
        raise NoResult("its termination message is empty")
    try:
        data = json.loads(message)
    except ValueError:
        raise NoResult("its termination message is not JSON") from None
    if not isinstance(data, dict):
        raise NoResult("its termination message is not a JSON object")
    try:
        return TrainResult.parse(data)
    except InvalidJob as error:
        raise NoResult(f"its termination message is not a result: {error}") from None


def failures_of(child: ChildJob | None, pods: Sequence[Pod]) -> list[LastFailure]:
    """Why attempts of the present child Job failed, oldest first.

    A pod that was deleted because of the deadline or a suspension has not failed by itself, and one
    of several nodes that ended since another did has not, either.
    """
    if child is None:
        return []
    ended = child.condition("Failed", "FailureTarget")
    by_deadline = ended is not None and ended.reason == "DeadlineExceeded"
    found: list[tuple[Pod, LastFailure]] = []
    for pod in pods:
        failure = failure_of(pod)
        taken = by_deadline or child.suspended_away(pod)
        if failure is not None and not (taken and failure.reason == reasons.POD_DELETED):
            found.append((pod, failure))
    found = [(pod, failure) for pod, failure in found if not _made_room(failure)]
    newest = {pod.index: pod.id.uid for pod in pods}
    lost = {pod.id.uid for pod, failure in found if _has_lost_a_peer(failure)}
    if len(newest) == child.nodes and lost >= set(newest.values()):
        # each of them waited for another: what failed is what was between them
        lost -= {newest[min(newest, key=lambda index: index or 0)]}
    return _causes([(pod, failure) for pod, failure in found if pod.id.uid not in lost])


def _causes(found: Sequence[tuple[Pod, LastFailure]]) -> list[LastFailure]:
    """Of pods that went together the one that went first; oldest first."""
    kept: list[tuple[Pod, LastFailure]] = []
    for pod, failure in found:
        same = next(
            (i for i, (a, b) in enumerate(kept) if _went_together(pod, failure, a, b)), None
        )
        if same is None:
            kept.append((pod, failure))
        elif (failure.time or "") < (kept[same][1].time or ""):
            kept[same] = (pod, failure)
    return [failure for _, failure in kept]


def _has_lost_a_peer(failure: LastFailure) -> bool:
    """Whether a pod ended well by itself, since another of its job had ended."""
    return failure.reason == reasons.PEER_LOST and failure.exit_code == ExitCode.INTERRUPTED


def _made_room(failure: LastFailure) -> bool:
    """Whether a pod ended by itself so that another can train with it."""
    return failure.reason == reasons.REGROUPED and failure.exit_code == ExitCode.INTERRUPTED


def _went_together(pod: Pod, failure: LastFailure, other: Pod, earlier: LastFailure) -> bool:
    """Whether two nodes' pods ran beside each other and failed within WITHIN_S."""
    first = min(failure.time or "", earlier.time or "")
    beside = max(pod.id.created, other.id.created) <= first
    return pod.index != other.index and beside and _at_once(failure, earlier)


def _at_once(failure: LastFailure, other: LastFailure) -> bool:
    """Whether it is known of both when they were, and that is within WITHIN_S."""
    times = parse_time(failure.time), parse_time(other.time)
    if times[0] is None or times[1] is None:
        return False
    return abs((times[0] - times[1]).total_seconds()) <= WITHIN_S


def unknown_yet(
    failures: Sequence[LastFailure], known: LastFailure | None, pods: Sequence[Pod]
) -> Sequence[LastFailure]:
    """Of failures, oldest first, those that came after the one that is known.

    A pod of several nodes that went with it is known with it, also when its own is gone by now.
    """
    if known is None:
        return failures
    names = [failure.pod_name for failure in failures]
    if known.pod_name in names:
        later = failures[names.index(known.pod_name) + 1 :]
    else:
        later = [failure for failure in failures if (failure.time or "") >= (known.time or "")]
    began = {pod.id.name: pod.id.created for pod in pods if pod.index is not None}
    return [f for f in later if not _with_it(f, known, began.get(f.pod_name or ""))]


def _with_it(failure: LastFailure, known: LastFailure, began: str | None) -> bool:
    """Whether a pod that began then ran beside the one that is known, and went when that did."""
    return began is not None and began <= (known.time or "") and _at_once(failure, known)


def is_final(failure: LastFailure) -> bool:
    """Whether podFailurePolicy ends the Job on it."""
    final = failure.exit_code in contract.FINAL_EXIT_CODES
    return final and failure.reason != reasons.EVICTED


def failure_of(pod: Pod) -> LastFailure | None:
    """Why this pod's attempt failed, or None if it has not (or not yet)."""
    ended = pod.terminated
    if ended is not None and ended.exit_code == ExitCode.DONE:
        return None
    if ended is None and pod.phase != "Failed" and pod.id.deleting is None:
        return None
    reason, message = _cause(pod, ended)
    return LastFailure(
        reason=reason,
        message=_tail(message),
        exit_code=ended.exit_code if ended is not None else None,
        pod_name=pod.id.name,
        time=(ended.finished if ended is not None else None) or pod.id.deleting,
    )


def _cause(pod: Pod, ended: Terminated | None) -> tuple[str, str]:
    if pod.disrupted is not None:
        cause = pod.disrupted
        text = f"the pod was taken from its node ({cause.reason}): {cause.message}"
        return reasons.EVICTED, text + (_lost_node(pod) if ended is None else "")
    if pod.reason == "Evicted":  # for the node's sake it would be disrupted, too
        return reasons.EPHEMERAL_STORAGE_EXCEEDED, (
            f"{pod.message.strip()} Raise defaults.scratchSize in the chart's values, or make the"
            " job again with a smaller backbone or less data"
        )
    if _out_of_memory(pod, ended):
        return reasons.OOM_KILLED, (
            f"the trainer needed more than its memory limit of {pod.memory or 'the node'}: make the"
            f" job again with spec.resources.memory above {pod.memory or 'that'}, or with a lower"
            " spec.training.microBatch (which changes nothing else), batchSize or"
            " spec.model.maxSeqLength"
        )
    own_word = ended is not None and ended.exit_code in [code for code in ExitCode if code.final]
    if pod.id.deleting is not None and not own_word:
        return reasons.POD_DELETED, f"the pod {pod.id.name} was deleted while it ran"
    if ended is None:
        node = pod.reason in _NODE_REASONS
        text = f"{pod.reason}: {pod.message}".strip(": ") or "the pod failed without a message"
        return reasons.EVICTED if node else reasons.UNKNOWN_EXIT, text
    return _trainers_word(ended)


def _lost_node(pod: Pod) -> str:
    """What to do where nobody is left to end the pod; two pods must not write to one place."""
    if pod.disrupted is None or pod.disrupted.reason != "DeletionByTaintManager":
        return ""
    return (
        f". If the node {pod.node} is gone for good, delete it (kubectl delete node {pod.node}):"
        " until then the pod may still run there"
    )


def _out_of_memory(pod: Pod, ended: Terminated | None) -> bool:
    if ended is None:
        return False
    if ended.reason == "OOMKilled":
        return True
    # a deleted pod that outlives its grace period ends with the same signal
    return ended.exit_code == contract.OOM_EXIT_CODE and pod.id.deleting is None


def _trainers_word(ended: Terminated) -> tuple[str, str]:
    known = ended.exit_code in list(ExitCode)
    reason = ExitCode(ended.exit_code).reason if known else reasons.UNKNOWN_EXIT
    try:
        failure = train_result(ended.message).failure
    except NoResult:
        failure = None
    peer = failure is not None and failure.reason == reasons.PEER_LOST
    if failure is not None and (not peer or ended.exit_code == ExitCode.INTERRUPTED):
        return failure.reason if _REASON.fullmatch(failure.reason) else reason, failure.message
    words = ended.message.strip() or "it left no message; `kubectl logs` of the pod may say more"
    return reason, f"the trainer ended with exit code {ended.exit_code}: {words}"


def _tail(text: str) -> str:
    return text if len(text) <= TAIL_CHARACTERS else "…" + text[-TAIL_CHARACTERS:]
