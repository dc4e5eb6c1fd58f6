"""A stratified hold-out: rows set aside for measuring, the same rows for the same seed.

A class gives its fraction of rows, rounded so that the whole comes out at the fraction, with two
exceptions. It keeps at least two rows for training, since an anchor needs a positive. And it gives
no row or at least two, since each held-out row is searched in the others: classes too small for
two take turns. Rows with the same text go together, so that no text is on both sides; a text that
stands under more than one label stays in training. Pairs that share an item go together, too.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.batches.relation import Relation
from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.columns.identity import numbered
from embedtune_trainer.rows.table import LabelledRows, Rows

log = logging.getLogger("embedtune")

Indices = NDArray[np.int64]
KEPT_PER_CLASS = 2
HELD_OUT_PER_CLASS = 2


@dataclass(frozen=True)
class Split:
    """Row numbers of both sides, each in the file's order."""

    train: Indices
    held_out: Indices
    ambiguous_texts: int
    """Texts that stand under more than one label."""


def stratified_split(rows: LabelledRows, fraction: float, seed: int) -> Split:
    """Hold out about `fraction` (0 to 1, both excluded) of the rows."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0x5B117)))
    labels_N = rows.labels.numbers_N()
    (texts_N,), count = numbered(rows.items.identities_N2)
    label_T, size_T, ambiguous_T = _texts(texts_N, labels_N, count)
    shares_C = _shares(np.bincount(labels_N), fraction, rng)
    held_T = np.zeros(count, dtype=bool)
    order = rng.permutation(np.flatnonzero(~ambiguous_T))
    order = order[np.argsort(label_T[order], kind="stable")]
    # Of each class the first texts whose rows do not exceed its share.
    label_O, upto_O = label_T[order], np.cumsum(size_T[order])
    first_C = np.searchsorted(label_O, np.arange(len(shares_C)))
    before_C = np.concatenate(([0], upto_O))[first_C]
    held_T[order[upto_O - before_C[label_O] <= shares_C[label_O]]] = True
    held_N = held_T[texts_N]
    return Split(np.flatnonzero(~held_N), np.flatnonzero(held_N), int(ambiguous_T.sum()))


def _texts(
    texts_N: Indices, labels_N: Indices, count: int
) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    """Each distinct text's label, number of rows, and whether its rows disagree on the label."""
    label_T = np.zeros(count, np.int64)
    label_T[texts_N] = labels_N
    ambiguous_T = np.zeros(count, dtype=bool)
    ambiguous_T[texts_N[label_T[texts_N] != labels_N]] = True
    return label_T, np.bincount(texts_N, minlength=count), ambiguous_T


def _shares(size_C: Indices, fraction: float, rng: np.random.Generator) -> Indices:
    """How many rows each class gives, by systematic sampling: the sum is off by 2 at most."""
    wanted_C = size_C * fraction
    small_C = wanted_C < HELD_OUT_PER_CLASS
    share_C = np.zeros(len(size_C), np.int64)
    for chosen, unit in ((small_C, HELD_OUT_PER_CLASS), (~small_C, 1)):
        upto = np.cumsum(wanted_C[chosen]) / unit + rng.random()
        share_C[chosen] = unit * np.diff(np.floor(upto), prepend=0).astype(np.int64)
    share_C = np.minimum(share_C, size_C - KEPT_PER_CLASS)
    return np.where(share_C < HELD_OUT_PER_CLASS, 0, share_C)


def split_rows(rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Hold out about `fraction` (0 to 1, both excluded) of the rows: to train on, held out.

    Raises:
        BadData: the rows hang together by shared items, so that none can be held out.
    """
    if isinstance(rows, LabelledRows):
        split = stratified_split(rows, fraction, seed)
        log.info(
            "held out rows=%d of=%d ambiguous_items=%d",
            *(len(split.held_out), len(rows), split.ambiguous_texts),
        )
        return rows.take(split.train), rows.take(split.held_out)
    held_N = _held_out_groups(Relation.of(rows).groups_N(), fraction, seed)
    if not held_N.any() or held_N.all():
        raise BadData(
            f"{rows.source}: no rows can be held out to measure on: rows that share items with each"
            f" other stay together, and the smallest such group is more than {fraction:g} of all;"
            " raise spec.data.evaluation.split, or set its uri to rows of their own"
        )
    log.info("held out rows=%d of=%d", int(held_N.sum()), len(rows))
    return rows.take(np.flatnonzero(~held_N)), rows.take(np.flatnonzero(held_N))


def _held_out_groups(groups_N: Indices, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Whole groups of rows that share items, drawn until the fraction is reached, never over it."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0x5B118)))
    _, group_N, size_G = np.unique(groups_N, return_inverse=True, return_counts=True)
    order_G = rng.permutation(len(size_G))
    wanted = max(1, round(fraction * len(groups_N)))
    taken = 0
    held_G = np.zeros(len(size_G), dtype=bool)
    for group, size in zip(order_G.tolist(), size_G[order_G].tolist(), strict=True):
        if taken + size <= wanted:
            held_G[group] = True
            taken += size
    held_N: NDArray[np.bool_] = held_G[group_N]
    return held_N
