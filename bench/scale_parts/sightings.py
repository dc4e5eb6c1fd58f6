"""What the bench saw of each job and when, on this machine's monotonic clock; and what follows.

A job's timeline: its POST is sent; its child is seen; its pod is seen, and seen Succeeded; the job
is seen finished. All but the first are first sightings in watches of the bench's own, so the time
that a watch takes is in each; that of the POST is in the first.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

JOB, POD = "job", "pod"
MADE, SUCCEEDED, FINISHED, GONE = "made", "succeeded", "finished", "gone"


@dataclass(frozen=True)
class Sighting:
    """An object was first seen in a state.

    Attributes:
        t: seconds of the monotonic clock.
        role: JOB, POD, or a child's kind.
        job: the name of the job that it belongs to.
        uid: the object's.
        state: MADE, SUCCEEDED (a pod), FINISHED or GONE (a job).
    """

    t: float
    role: str
    job: str
    uid: str
    state: str


class Sightings:
    """All that were seen, by job."""

    def __init__(self) -> None:
        self.sent: dict[str, float] = {}
        self._first: dict[tuple[str, str, str], float] = {}
        self._uids: dict[tuple[str, str], set[str]] = defaultdict(set)

    def note(self, sighting: Sighting) -> None:
        """Take one in."""
        self._first.setdefault((sighting.job, sighting.role, sighting.state), sighting.t)
        if sighting.state == MADE:
            self._uids[sighting.job, sighting.role].add(sighting.uid)

    def has(self, job: str, role: str, state: str) -> bool:
        """Whether the job's object of this role was seen in this state."""
        return (job, role, state) in self._first

    def started(self, jobs: Iterable[str], role: str) -> "Spread":
        """Seconds from each job's POST to the first object of this role."""
        return spread(
            [self._between(self.sent.get(job), (job, role, MADE)) for job in jobs],
        )

    def ended(self, jobs: Iterable[str]) -> "Spread":
        """Seconds from each job's pod being seen Succeeded to the job being seen finished."""
        return spread(
            [
                self._between(self._first.get((job, POD, SUCCEEDED)), (job, JOB, FINISHED))
                for job in jobs
            ],
        )

    def duplicates(self) -> int:
        """How many objects there were beyond one of each role for each job."""
        return sum(len(uids) - 1 for uids in self._uids.values())

    def _between(self, begin: float | None, end: tuple[str, str, str]) -> float | None:
        there = self._first.get(end)
        # the two are seen in different watches: what was told first may be read last
        return None if begin is None or there is None else max(0.0, there - begin)


@dataclass(frozen=True)
class Spread:
    """Seconds of many; None where so many were not seen to happen that it is not known."""

    p50: float | None
    p99: float | None
    most: float | None
    missing: int


def spread(seconds: Sequence[float | None]) -> Spread:
    """Nearest-rank percentiles; what did not happen counts as longer than all that did."""
    known = sorted(s for s in seconds if s is not None)

    def rank(share: float) -> float | None:
        index = math.ceil(share * len(seconds)) - 1
        return known[index] if 0 <= index < len(known) else None

    return Spread(rank(0.5), rank(0.99), rank(1.0), len(seconds) - len(known))
