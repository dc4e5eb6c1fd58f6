"""A stratified hold-out: rows set aside for measuring, the same rows for the same seed.

A class gives its fraction of rows, rounded so that the whole comes out at the fraction, with two
exceptions. It keeps at least two rows for training, since an anchor needs a positive. And it gives
no row or at least two, since each held-out row is searched in the others: classes too small for
two take turns. Rows with the same text go together, so that no text is on both sides; a text that
stands under more than one label stays in training.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.rows.table import LabelledRows

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
    _, labels_N = np.unique(np.asarray(rows.labels, dtype=object), return_inverse=True)
    number = {text: i for i, text in enumerate(dict.fromkeys(rows.items.identities()))}
    texts_N = np.fromiter((number[text] for text in rows.items.identities()), np.int64, len(rows))
    label_T, size_T, ambiguous_T = _texts(texts_N, labels_N, len(number))
    shares_C = _shares(np.bincount(labels_N), fraction, rng)
    held_T = np.zeros(len(number), dtype=bool)
    order = rng.permutation(np.flatnonzero(~ambiguous_T))
    order = order[np.argsort(label_T[order], kind="stable")]
    bounds = np.searchsorted(label_T[order], np.arange(len(shares_C) + 1))
    for share, begin, end in zip(shares_C, bounds[:-1], bounds[1:], strict=True):
        members = order[begin:end]
        held_T[members[np.cumsum(size_T[members]) <= share]] = True
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
