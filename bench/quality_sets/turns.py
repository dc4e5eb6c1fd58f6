"""Both systems trained once for each seed, in turns, with what is in the journal taken from it."""

import sys
import time
from collections.abc import Callable, Sequence

from quality_sets.comparison import Comparison, Side
from quality_sets.journal import Journal
from quality_sets.verdict import Found

OURS = "embedtune"


def all_trained(
    name: str, comparison: Comparison, seeds: Sequence[int], journal: Journal
) -> tuple[list[Found], list[Found]]:
    """Ours and the peer's by seed; each is in the journal as soon as it is there.

    Raises:
        AssertionError: not all took as many steps.
    """
    systems = list(zip((OURS, comparison.peer), comparison.sides, strict=True))
    found: dict[tuple[str, int], Found] = {}
    for turn, seed in enumerate(seeds):
        for system, make in systems if turn % 2 == 0 else systems[::-1]:
            one = journal.get(name, system, seed)
            if one is None:
                one = _trained(make, seed, comparison)
                journal.add(name, system, seed, one)
            found[system, seed] = one
            print(name, system, seed, one, file=sys.stderr, flush=True)
    ours, theirs = ([found[system, seed] for seed in seeds] for system, _ in systems)
    if len(steps := {one.steps for one in (*ours, *theirs)}) > 1:
        raise AssertionError(f"{name}: the trainings took {sorted(steps)} steps, not the same")
    return ours, theirs


def _trained(make: Callable[[int], Side], seed: int, comparison: Comparison) -> Found:
    """One training, judged."""
    side = make(seed)
    begun = time.perf_counter()
    steps = side.train()
    seconds = time.perf_counter() - begun
    return Found(comparison.judge(*side.embed()), steps, seconds)
