"""Hard negatives of a training: mined anew for every epoch, as columns beside the positives."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune_api.spec import HardNegatives
from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.encoding import Column, encode_rows
from embedtune_trainer.objectives.mining import NOTHING, Bipartite, mine

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Mined:
    """What one mining found.

    Attributes:
        per_row: hard negatives of a row, on average.
        rows_without: rows that found none.
        items: how many were encoded for it.
        seconds: what it took.
    """

    per_row: float
    rows_without: int
    items: int
    seconds: float


class MinedNegatives:
    """The hard negatives of every row.

    Attributes:
        rows_NK: rows whose right items are the negatives. A row that found fewer has itself in the
            free places: its own positive is known, so it does not count as a negative.
        mined: what the last mining found; None before the first.
    """

    def __init__(
        self, relation: Relation, left: Column, right: Column, options: HardNegatives, seed: int
    ) -> None:
        self._columns = (left, right)
        self._options = options
        self._seed = seed
        left_item_L, self._first_L, left_N = _distinct(relation.left_N)
        right_item_R, self._first_R, right_N = _distinct(relation.right_N)
        self._pairs = _known(relation, left_item_L, right_item_R, left_N, right_N)
        own_N = np.arange(len(left_N))
        self.rows_NK: Indices = np.repeat(own_N[:, None], options.per_row, axis=1)
        self.mined: Mined | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """A column for each place, of the right encoder; `refresh` changes what is in them."""
        right = self._columns[1]
        return tuple(Column(right.embedder, right.table, rows_N) for rows_N in self.rows_NK.T)

    def refresh(self, epoch: int, stop: Callable[[], bool]) -> Mined:
        """Mine for one epoch (from 0) with the encoders as they are, in the mode that they are in.

        Raises:
            Interrupted: stop() was true.
        """
        begun = time.perf_counter()
        left_LD, right_RD = (
            encode_rows(column, rows, stop)
            for column, rows in zip(self._columns, (self._first_L, self._first_R), strict=True)
        )
        rng = np.random.default_rng(np.random.SeedSequence((self._seed, epoch, 0x4A2D)))
        found_NK = mine(left_LD, right_RD, self._pairs, self._options, rng)
        own_N1 = np.arange(len(found_NK))[:, None]
        self.rows_NK[:] = np.where(found_NK == NOTHING, own_N1, self._first_R[found_NK])
        count_N = (found_NK != NOTHING).sum(1)
        self.mined = Mined(
            float(count_N.mean()),
            int((count_N == 0).sum()),
            len(left_LD) + len(right_RD),
            time.perf_counter() - begun,
        )
        return self.mined

    def state_dict(self) -> dict[str, Any]:
        """What was mined last, for a checkpoint."""
        return {"rows": self.rows_NK, "mined": asdict(self.mined) if self.mined else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self.rows_NK[:] = state["rows"]
        self.mined = Mined(**state["mined"]) if state["mined"] else None


def _distinct(item_N: Indices) -> tuple[Indices, Indices, Indices]:
    """The different items, the first row of each, and each row's place among them."""
    item_U, first_U, place_N = np.unique(item_N, return_index=True, return_inverse=True)
    return item_U, first_U.astype(np.int64), place_N.astype(np.int64)


def _known(
    relation: Relation, left_L: Indices, right_R: Indices, left_N: Indices, right_N: Indices
) -> Bipartite:
    """What belongs together: pairs that any row says, and items that are on both sides."""
    _, same_left, same_right = np.intersect1d(left_L, right_R, return_indices=True)
    said_left, said_right = relation.pairs_P // relation.count, relation.pairs_P % relation.count
    in_both = np.isin(said_left, left_L) & np.isin(said_right, right_R)
    said_left, said_right = said_left[in_both], said_right[in_both]
    known_left_P = np.concatenate((np.searchsorted(left_L, said_left), same_left))
    known_right_P = np.concatenate((np.searchsorted(right_R, said_right), same_right))
    order_P = np.argsort(known_left_P, kind="stable")
    return Bipartite(left_N, right_N, known_left_P[order_P], known_right_P[order_P])
