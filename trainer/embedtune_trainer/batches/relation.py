"""Which items of paired rows are the same, and which belong together by the data as a whole.

Equal items get one number, wherever they stand. A pair is known if any row says it, in either
order; so when a batch holds the rows (A, B) and (C, D) and the data elsewhere (A, D) or (D, A),
D is no negative of A.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.batches.known import KnownInBatch
from embedtune_trainer.rows.columns.identity import numbered
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
        sides = (rows.left, rows.right, *rows.negatives)
        columns, count = numbered(*(items.identities_N2 for items in sides))
        return cls(columns[0], columns[1], tuple(columns[2:]), count)

    @cached_property
    def pairs_P(self) -> Indices:
        """The numbers a * count + b and b * count + a of every different pair, sorted."""
        forth_N = self.left_N * self.count + self.right_N
        back_N = self.right_N * self.count + self.left_N
        return np.unique(np.concatenate((forth_N, back_N)))

    @property
    def duplicates(self) -> int:
        """Rows that say what another row before them says."""
        return len(self.left_N) - len(np.unique(self.left_N * self.count + self.right_N))

    def known(self, rows_B: Indices, mined_NK: Indices | None = None) -> KnownInBatch:
        """Which candidates of a batch belong to its anchors, or are the same item.

        Candidates are the rows' right items in their order, then the columns of hard negatives,
        then those of `mined_NK`, which are the right items of these rows.
        """
        columns = [column[rows_B] for column in (self.right_N, *self.negatives)]
        if mined_NK is not None:
            columns += [self.right_N[mined_B] for mined_B in mined_NK[rows_B].T]
        return KnownInBatch(self.pairs_P, self.count, self.left_N[rows_B], columns)

    def groups_N(self) -> Indices:
        """A number for each row, the same for rows that share an item, directly or by others."""
        group_of = np.arange(self.count)
        while True:
            left_N, right_N = group_of[self.left_N], group_of[self.right_N]
            if (left_N == right_N).all():
                return left_N
            # Of two groups that a row joins, the lower number points to the higher one, ...
            lower_N, higher_N = np.minimum(left_N, right_N), np.maximum(left_N, right_N)
            np.maximum.at(group_of, lower_N, higher_N)
            # ... and then every number to the end of its way.
            while not ((further := group_of[group_of]) == group_of).all():
                group_of = further
