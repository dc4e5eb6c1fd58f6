"""Batches of paired rows: every row once an epoch, in an order drawn from seed and epoch."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class RandomSampler:
    """Batches of row numbers for one training.

    The rows are spread over the batches evenly, so that none is much smaller than the others: a
    ranking loss over a few leftover rows would be another loss.

    Args:
        count: rows.
        batch_size: most rows in a batch.
        seed: two samplers with the same arguments give the same batches.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._steps = -(-count // batch_size)

    def __len__(self) -> int:
        """Batches in an epoch, the same in every epoch."""
        return self._steps

    def epoch(self, epoch: int) -> list[Indices]:
        """The batches of one epoch (from 0)."""
        rng = np.random.default_rng(np.random.SeedSequence((self._seed, epoch)))
        return np.array_split(rng.permutation(self._count), self._steps)
