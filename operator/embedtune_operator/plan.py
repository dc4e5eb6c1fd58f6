"""What a decision comes to."""

from dataclasses import dataclass
from typing import Any

from embedtune_operator.turns import Turn

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order."""

    children: tuple[JsonObject, ...] = ()
    """Children to make, each to be in place before the next."""
    child_patch: JsonObject | None = None
    """Merge patch for the child Job, for the few fields that may change in its life."""
    status: JsonObject | None = None
    """The status to write; None if it stands as it should."""
    events: tuple[Turn, ...] = ()
    """What to tell, once the status is written."""
    finalizer: bool | None = None
    """True: put names.FINALIZER on the job, and decide again; False: take it off."""
    delete: bool = False
    """Delete the job."""
    confirm: bool = False
    """Read child, pods and runtimes from the API server and decide again; nothing else is set."""
    again: bool = False
    """Decide again once the rest is done."""
    again_after_s: float | None = None
    """Decide again after this time at the latest."""
