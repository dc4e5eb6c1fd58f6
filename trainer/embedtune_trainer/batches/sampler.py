"""Class-balanced batches: P groups of K rows of one class each (Schroff et al. 2015, FaceNet).

Every epoch shows every row at least once. A class of n >= K rows makes ceil(n / K) groups; what is
missing in its last group is filled with others of its rows. A class of fewer rows makes one
smaller group, and smaller groups share a slot of K, so that nothing is repeated for their sake; a
class of one row has no positive and serves as a negative. The groups of a class are spread evenly
over the epoch, so that a batch holds the classes about as the data does. How many batches there
are depends only on the class sizes, and an epoch's batches only on (seed, epoch).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
EMPTY = -1
"""A place in a slot that no row takes."""


@dataclass(frozen=True)
class _SharedSlots:
    """`count` slots that each hold small groups of these sizes."""

    sizes: tuple[int, ...]
    count: int


class ClassSampler:
    """Batches of row numbers for one training.

    Args:
        labels_N: each row's class, any integers.
        batch_size: most rows in a batch, at least 2 * items_per_class.
        items_per_class: K, rows of one class that come together, at least 2.
        seed: two samplers with the same arguments give the same batches.
    """

    def __init__(self, labels_N: Indices, batch_size: int, items_per_class: int, seed: int) -> None:
        self._k = items_per_class
        self._seed = seed
        _, self._class_N, size_C = np.unique(labels_N, return_inverse=True, return_counts=True)
        self._size_C = size_C.astype(np.int64)
        self._first_C = np.cumsum(self._size_C) - self._size_C
        small_C = self._size_C < items_per_class
        self._small_C = np.flatnonzero(small_C)
        self._large_C = np.flatnonzero(~small_C)
        self._groups_L = -(-self._size_C[self._large_C] // items_per_class)
        self._shared = _share_slots(self._size_C[self._small_C], items_per_class)
        self._slots = int(self._groups_L.sum()) + sum(s.count for s in self._shared)
        self._steps = -(-self._slots // (batch_size // items_per_class))

    def __len__(self) -> int:
        """Batches in an epoch, the same in every epoch."""
        return self._steps

    @property
    def singletons(self) -> int:
        """Classes of one row."""
        return int((self._size_C == 1).sum())

    def epoch(self, epoch: int) -> list[Indices]:
        """The batches of one epoch (from 0): row numbers, none twice in a batch."""
        rng = np.random.default_rng(np.random.SeedSequence((self._seed, epoch)))
        random_N = rng.random(len(self._class_N))
        row_N = np.lexsort((random_N, self._class_N))
        large, position_large = self._large_slots(row_N, rng)
        small = self._small_slots(row_N, rng)
        slot_SK = np.concatenate((large, small))
        position_S = np.concatenate((position_large, rng.random(len(small))))
        slot_SK = slot_SK[np.argsort(position_S, kind="stable")]
        batches = [_distinct(slots) for slots in np.array_split(slot_SK, self._steps)]
        return [batches[i] for i in rng.permutation(self._steps)]

    def _large_slots(
        self, row_N: Indices, rng: np.random.Generator
    ) -> tuple[Indices, NDArray[np.float64]]:
        """Groups of classes of K rows or more, and where in the epoch (0 to 1) each stands."""
        class_G = np.repeat(self._large_C, self._groups_L)
        first_L = np.cumsum(self._groups_L) - self._groups_L
        number_G = np.arange(len(class_G)) - np.repeat(first_L, self._groups_L)
        item_GK = number_G[:, None] * self._k + np.arange(self._k)
        item_GK %= self._size_C[class_G][:, None]
        slot_GK = row_N[self._first_C[class_G][:, None] + item_GK]
        return slot_GK, self._spread(class_G, number_G, rng)

    def _spread(
        self, class_G: Indices, number_G: Indices, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        groups_G = np.repeat(self._groups_L, self._groups_L)
        position_G: NDArray[np.float64] = (number_G + rng.random(len(class_G))) / groups_G
        return position_G

    def _small_slots(self, row_N: Indices, rng: np.random.Generator) -> Indices:
        """Slots shared by classes of fewer than K rows, EMPTY where nothing fits."""
        waiting = {
            int(size): rng.permutation(self._small_C[self._size_C[self._small_C] == size])
            for size in np.unique(self._size_C[self._small_C])
        }
        slots = [np.empty((0, self._k), np.int64)]
        for shared in self._shared:
            slot_SK = np.full((shared.count, self._k), EMPTY, np.int64)
            begin = 0
            for size in shared.sizes:
                taken, waiting[size] = np.split(waiting[size], [shared.count])
                rows = row_N[self._first_C[taken][:, None] + np.arange(size)]
                slot_SK[:, begin : begin + size] = rows
                begin += size
            slots.append(slot_SK)
        return np.concatenate(slots)


def _distinct(slot_SK: Indices) -> Indices:
    """The rows in their order; a row that fills up another group of its class counts once."""
    row_B = slot_SK[slot_SK != EMPTY]
    _, first_B = np.unique(row_B, return_index=True)
    distinct_B: Indices = row_B[np.sort(first_B)]
    return distinct_B


def _share_slots(sizes: Indices, capacity: int) -> tuple[_SharedSlots, ...]:
    """Pack groups into slots, the largest that still fits first; equal slots are counted."""
    left = dict(enumerate(np.bincount(sizes, minlength=1).tolist()))
    packed: list[_SharedSlots] = []
    while any(left[size] for size in left if size):
        room = capacity
        chosen: list[int] = []
        for size in sorted((s for s in left if s), reverse=True):
            fit = min(left[size], room // size)
            chosen += [size] * fit
            room -= size * fit
        count = min(left[size] // chosen.count(size) for size in set(chosen))
        for size in chosen:
            left[size] -= count
        packed.append(_SharedSlots(tuple(chosen), count))
    return tuple(packed)
