"""What is worth an Event: the turns in a job's life, told once each."""

import hashlib
from dataclasses import dataclass

from embedtune_api import reasons
from embedtune_api.status import FineTuneJobStatus, SizedResources
from embedtune_operator.conditions import TERMINAL
from embedtune_operator.scene import Finding
from embedtune_operator.views import Identity

MESSAGE_MAX = 1000
QUIET = (reasons.POD_PENDING, reasons.SUSPENDING)
"""Passed through on the way to what is told."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One Event."""

    name: str
    """Worked out from what is told, so that telling it again meets the first and stops there."""
    reason: str
    message: str
    warning: bool


def turns(
    job: Identity, before: FineTuneJobStatus, after: FineTuneJobStatus, finding: Finding
) -> tuple[Turn, ...]:
    """The turns between two statuses."""
    told: list[Turn] = []
    # the same may be told again of another attempt, or after another change of the spec
    when = f"{after.observed_generation}/{after.restarts}"
    failure = after.last_failure
    if failure is not None and failure != before.last_failure and after.state != "Failed":
        told.append(turn(job, when, failure.reason, failure.message, warning=True))
    if before.resources is None and after.resources is not None:
        told.append(turn(job, when, reasons.SIZED, _needs(after.resources), warning=False))
    if after.job_name and not before.job_name and after.reason != reasons.CREATED:
        # on a busy machine more has happened since than that
        told.append(turn(job, when, reasons.CREATED, made(after.job_name), warning=False))
    ends = after.state in TERMINAL
    if ends or after.reason not in (before.reason, *QUIET, *(turn.reason for turn in told)):
        message = finding.message
        if after.state == "Complete":
            message += _gain(after)
        warning = finding.stalled or after.reason in (reasons.RETRYING, reasons.UNSCHEDULABLE)
        told.append(turn(job, when, finding.reason, message, warning=warning))
    return tuple(told)


def made(child: str) -> str:
    """That a child Job is there."""
    return f"the Job {child} is made and will start a pod"


def _needs(found: SizedResources) -> str:
    """The reasons; each begins with the number it is for."""
    return "; ".join(found.reasoning)


def _gain(status: FineTuneJobStatus) -> str:
    if status.metrics is None or status.metrics.headline.after is None:
        return ""
    headline = status.metrics.headline
    return f"; {headline.name} went from {headline.before} to {headline.after}"


def turn(job: Identity, when: str, reason: str, message: str, *, warning: bool) -> Turn:
    """One turn; at the same point of a job's life, the same is the same."""
    text = message if len(message) <= MESSAGE_MAX else message[: MESSAGE_MAX - 1] + "…"
    key = f"{job.uid}/{when}/{reason}/{text}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return Turn(f"{job.name}.{digest}", reason, text, warning)
