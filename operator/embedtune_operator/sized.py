"""What the sizing pod found, or the platform's defaults where it could find nothing.

Sizing is a help, not a gate: only what the training would end with as well (bad data, a backbone
that is not there) ends a job here, which sizing.py sees to.
"""

import json

from embedtune_api.base import InvalidJob
from embedtune_api.contract import ExitCode, SizeResult
from embedtune_api.status import SizedResources
from embedtune_operator.children import Terminated
from embedtune_operator.observe import Observed
from embedtune_operator.settings import Settings


def found(observed: Observed, settings: Settings) -> SizedResources | None:
    """What the job needs; None if that is not known yet, or the job cannot run."""
    sizer, last = observed.sizer, verdict(observed)
    if sizer is None:
        return None
    if last is not None:
        return _result(last, settings) if last.exit_code == ExitCode.DONE else None
    if sizer.ended and observed.confirmed:
        return _defaults(settings, _why(observed))
    return None


def verdict(observed: Observed) -> Terminated | None:
    """How the sizing ended, if no retry can change that."""
    ended = [pod.terminated for pod in observed.sizer_pods if pod.terminated is not None]
    final = [e for e in ended if e.exit_code == ExitCode.DONE or _is_final(e.exit_code)]
    return final[-1] if final else None


def size_result(message: str) -> SizeResult | None:
    """The sizing pod's last word; None if it is something else."""
    try:
        data = json.loads(message)
        return SizeResult.parse(data) if isinstance(data, dict) else None
    except (ValueError, InvalidJob):
        return None


def _is_final(code: int) -> bool:
    return code in list(ExitCode) and ExitCode(code).final


def _result(ended: Terminated, settings: Settings) -> SizedResources:
    result = size_result(ended.message)
    if result is None:
        return _defaults(
            settings,
            "the sizing pod left no result; check that the trainer's image belongs to this"
            " operator's version",
        )
    if result.resources is None:
        return _defaults(settings, result.failure.message if result.failure else "no estimate")
    return result.resources


def _why(observed: Observed) -> str:
    ended = [pod.terminated for pod in observed.sizer_pods if pod.terminated is not None]
    if not ended:
        condition = observed.sizer.condition("Failed", "FailureTarget") if observed.sizer else None
        return (
            f"the sizing did not end well: {condition.reason}" if condition else "its pod is gone"
        )
    last = ended[-1]
    result = size_result(last.message)
    said = result.failure.message if result and result.failure else last.message.strip()
    return f"the sizing pod ended with exit code {last.exit_code} {last.reason}: {said}"


def _defaults(settings: Settings, why: str) -> SizedResources:
    return SizedResources(
        cpu=settings.default_cpu,
        memory=settings.default_memory,
        gpus=settings.default_gpus,
        reasoning=(f"the platform's defaults, since what the job needs is not known: {why}",),
    )
