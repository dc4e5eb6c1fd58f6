"""A finding in the form of Kubernetes conditions.

Running, Suspended, Complete, Failed and ModelExported say what the job is. Reconciling and Stalled
follow kstatus, which Flux and kpt judge by, as it judges a batch/v1 Job: Reconciling is True until
the trainer runs or the job is suspended, Stalled is True when nothing will move without a person.
"""

from collections.abc import Sequence
from typing import Any

from embedtune_api.status import Condition
from embedtune_operator.scene import Finding

TERMINAL = ("Complete", "Failed")


def is_finished(status: dict[str, Any]) -> bool:
    """Whether a terminal condition stands in a stored status, whatever else it holds."""
    stored = status.get("conditions")
    return isinstance(stored, list) and any(
        isinstance(c, dict) and c.get("type") in TERMINAL and c.get("status") == "True"
        for c in stored
    )


def conditions(
    before: Sequence[Condition], finding: Finding, generation: int, stamp: str
) -> tuple[Condition, ...]:
    """All conditions, in an order that never changes."""
    complete, failed = finding.state == "Complete", finding.state == "Failed"
    holds = {
        "Running": finding.running,
        "Suspended": finding.suspended,
        "Complete": complete,
        "Failed": failed,
        "ModelExported": finding.result is not None,
        "Reconciling": not (
            complete or failed or finding.running or finding.suspended or finding.stalled
        ),
        "Stalled": finding.stalled,
    }
    old = {condition.type: condition for condition in before}
    return tuple(
        _condition(old.get(kind), kind, true, finding, generation, stamp)
        for kind, true in holds.items()
    )


def _condition(
    old: Condition | None, kind: str, true: bool, finding: Finding, generation: int, stamp: str
) -> Condition:
    status = "True" if true else "False"
    # Running carries the message at all times, so that there is one place to read
    message = finding.message if true or kind == "Running" else ""
    unchanged = old is not None and old.status == status
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": finding.reason,
            "message": message[:32000],
            "lastTransitionTime": old.last_transition_time if old and unchanged else stamp,
            "observedGeneration": generation,
        }
    )
