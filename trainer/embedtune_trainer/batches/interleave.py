"""Whose turn it is: batches of several entries, spread evenly over an epoch in given shares.

An epoch has as many batches as one pass over all entries. Entry i gets w_i / sum(w) of them, its
own number of batches being w_i if no weights are given, and takes its batches in the order of its
passes: when it runs out it begins its next pass, and when an epoch ends before it has got through,
it goes on there in the next. How many batches an entry has had before an epoch is found by
rounding alone, and an epoch's order only depends on (seed, epoch), so that a training can go on at
any epoch without what was before.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np


class Turn(NamedTuple):
    """One batch of an epoch.

    Attributes:
        entry: which entry gives it.
        done: passes over its rows that the entry has behind it.
        batch: the batch's place in the pass.
    """

    entry: int
    done: int
    batch: int


class Interleaving:
    """The order of batches for one training.

    Args:
        batches: of one pass over each entry, at least 1.
        weights: of the entries, above 0; None for `batches`.
        seed: two with the same arguments give the same order.
    """

    def __init__(self, batches: Sequence[int], weights: Sequence[float] | None, seed: int) -> None:
        self._batches = tuple(batches)
        self._weights = tuple(Fraction(w) for w in (batches if weights is None else weights))
        self._seed = seed

    def __len__(self) -> int:
        """Batches in an epoch, the same in every epoch."""
        return sum(self._batches)

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the epoch's batches, a number from 0 to 1 for each entry."""
        return tuple(float(weight / sum(self._weights)) for weight in self._weights)

    def before(self, epoch: int) -> tuple[int, ...]:
        """Batches that each entry has had before this epoch (from 0).

        The first entry gets its share of all batches, rounded; the second its share of what that
        leaves, and so on. So they add up, none ever shrinks, and each is as near as rounding lets.
        """
        left = epoch * len(self)
        weight_left = sum(self._weights)
        had = []
        for weight in self._weights:
            count = int(left * weight / weight_left + Fraction(1, 2))
            had.append(count)
            left -= count
            weight_left -= weight
        return tuple(had)

    def epoch(self, epoch: int) -> list[Turn]:
        """The batches of one epoch (from 0), those of an entry in their order."""
        rng = np.random.default_rng(np.random.SeedSequence((self._seed, epoch, 0x317)))
        begin, end = self.before(epoch), self.before(epoch + 1)
        counts = [after - before for before, after in zip(begin, end, strict=True)]
        position_S = np.concatenate([(np.arange(n) + rng.random(n)) / n for n in counts if n])
        turn_S = [
            Turn(entry, *divmod(number, self._batches[entry]))
            for entry, (before, after) in enumerate(zip(begin, end, strict=True))
            for number in range(before, after)
        ]
        return [turn_S[i] for i in np.argsort(position_S, kind="stable").tolist()]
