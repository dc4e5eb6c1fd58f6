"""Which items of paired rows are the same, and which belong together by the data as a whole.

Equal items get one number, wherever they stand. A pair (l, r) is known if any row says it; so
when a batch holds the rows (A, B) and (C, D) and the data elsewhere (A, D), D is no negative of A.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.rows.table import PairRows

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Relation:
    """The items of paired rows by number.

    Attributes:
        left_N: number of each row's left item.
        right_N: number of each row's right item.
        negatives: numbers of the hard negatives, a column each.
        count: how many different items there are.
    """

    left_N: Indices
    right_N: Indices
    negatives: tuple[Indices, ...]
    count: int

    @classmethod
    def of(cls, rows: PairRows) -> "Relation":
        """Number the items of these rows."""
        numbers: dict[Hashable, int] = {}
        columns = [
            _numbered(items.identities(), numbers)
            for items in (rows.left, rows.right, *rows.negatives)
        ]
        return cls(columns[0], columns[1], tuple(columns[2:]), len(numbers))

    @cached_property
    def pairs_P(self) -> Indices:
        """The number left * count + right of every different pair, sorted."""
        return np.unique(self.left_N * self.count + self.right_N)

    @property
    def duplicates(self) -> int:
        """Rows that say what another row before them says."""
        return len(self.left_N) - len(self.pairs_P)

    @cached_property
    def _positives(self) -> Indices:
        """How many different items belong to each item as a left one."""
        return np.bincount(self.pairs_P // self.count, minlength=self.count)

    def known_BC(self, rows_B: Indices) -> NDArray[np.bool_]:
        """(B, C): whether each candidate belongs to each anchor of a batch, or is the same item.

        Candidates are the rows' right items in their order, then the columns of hard negatives.
        """
        left_B = self.left_N[rows_B]
        columns = [self.right_N, *self.negatives]
        candidate_C = np.concatenate([column[rows_B] for column in columns])
        known_BC: NDArray[np.bool_] = left_B[:, None] == candidate_C
        known_BC |= self.right_N[rows_B][:, None] == candidate_C
        # Most anchors have one positive, and then the batch holds no other that is known.
        (several_S,) = np.nonzero(self._positives[left_B] > 1)
        code_SC = left_B[several_S][:, None] * self.count + candidate_C
        place_SC = np.searchsorted(self.pairs_P, code_SC).clip(max=len(self.pairs_P) - 1)
        known_BC[several_S] |= self.pairs_P[place_SC] == code_SC
        return known_BC

    def groups_N(self) -> Indices:
        """A number for each row, the same for rows that share an item, directly or by others."""
        parent = list(range(self.count))
        for left, right in zip(self.left_N.tolist(), self.right_N.tolist(), strict=True):
            parent[_root(parent, left)] = _root(parent, right)
        root_N = [_root(parent, left) for left in self.left_N.tolist()]
        return np.asarray(root_N, np.int64)


def _root(parent: list[int], item: int) -> int:
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


def _numbered(items: Sequence[Hashable], numbers: dict[Hashable, int]) -> Indices:
    found = (numbers.setdefault(item, len(numbers)) for item in items)
    return np.fromiter(found, np.int64, len(items))
