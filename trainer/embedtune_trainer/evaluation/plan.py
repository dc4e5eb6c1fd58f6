"""Which rows are trained on and which are measured on."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from embedtune_api.evaluation import Evaluation
from embedtune_api.spec import Data, Dataset
from embedtune_trainer.batches.split import split_rows
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.evaluation.measures import LabelSearch, Measure, PairSearch, ScoredPairs
from embedtune_trainer.rows.check import check_trainable
from embedtune_trainer.rows.columns.identity import Identities, numbered, shared
from embedtune_trainer.rows.table import Items, LabelledRows, PairRows, Rows

log = logging.getLogger("embedtune")

DEFAULT_SPLIT = 0.1
FIELD = "spec.data.evaluation"
Read = Callable[[Dataset, str], Rows]


def plan_evaluation(
    data: Data, entries: Sequence[Rows], seed: int, read: Read
) -> tuple[tuple[Rows, ...], Measure]:
    """The rows to train on, and what to measure on.

    Args:
        data: spec.data.
        entries: the rows of its entries. The first is the one that the model is measured on.
        seed: of the split, and of what is drawn to be shown and clustered.
        read: fetches and reads another data file; given its place in the spec, for messages.

    Returns:
        The rows of each entry without those that are held out, and, in the other entries, without
        those that hold an item that is held out; and what to measure on.

    Raises:
        BadData: no query has a relevant item, so that there is nothing to measure; rows of another
            layout than the first entry's; or too few rows left to train on.
        BadSpec: the headline metric is none of those that are measured.
    """
    evaluation = data.evaluation
    index: Rows | None = None
    if evaluation.queries is not None and evaluation.index is not None:
        held_out = read(evaluation.queries, f"{FIELD}.queries")
        index = _already_read(evaluation.index, data, entries)
        if index is None:
            index = read(evaluation.index, f"{FIELD}.index")
    elif evaluation.uri is not None:
        held_out = read(data.like_first(evaluation.uri), FIELD)
    else:
        rows, held_out = split_rows(entries[0], evaluation.split or DEFAULT_SPLIT, seed)
        entries = (rows, *(_without_items_of(held_out, rows) for rows in entries[1:]))
    if not _alike(held_out, entries[0]):
        raise _not_alike(held_out, entries[0])
    measure = measure_on(held_out, index, evaluation, seed)
    if not isinstance(measure, ScoredPairs):
        _warn_of_shared(held_out, entries)
    headline_metric(data, measure)
    return tuple(entries), measure


def _already_read(dataset: Dataset, data: Data, entries: Sequence[Rows]) -> Rows | None:
    """The rows of this dataset, if it is one of those that are trained on."""
    for (_, other), rows in zip(data.entries, entries, strict=True):
        if other == dataset:
            return rows
    return None


def _without_items_of(held_out: Rows, rows: Rows) -> Rows:
    """The rows that hold none of the held-out items, in whatever place.

    Raises:
        BadData: what is left is too little to train on.
    """
    sides = [item.identities_N2 for item in _items(rows)]
    held = [item.identities_N2 for item in _items(held_out)[:2]]
    numbers, count = numbered(*held, *sides)
    held_U = np.zeros(count, dtype=bool)
    held_U[np.concatenate(numbers[: len(held)])] = True
    found_N = np.zeros(len(rows), dtype=bool)
    for number_N in numbers[len(held) :]:
        found_N |= held_U[number_N]
    left_out = int(found_N.sum())
    if not left_out:
        return rows
    log.info("left out rows=%d of=%d source=%s: measured on", left_out, len(rows), rows.source)
    kept = rows.take(np.flatnonzero(~found_N))
    try:
        check_trainable(kept)
    except BadData as error:
        raise BadData(
            f"{error}; {left_out} more rows hold items that are held out of {held_out.source} to"
            f" measure on: set {FIELD} to rows of their own"
        ) from None
    return kept


def _items(rows: Rows) -> tuple[Items, ...]:
    """All items of the rows, a column each: anchors, positives, hard negatives."""
    if isinstance(rows, LabelledRows):
        return (rows.items,)
    return (rows.left, rows.right, *rows.negatives)


def headline_metric(data: Data, measure: Measure) -> str:
    """The metric that the job is judged by.

    Raises:
        BadSpec: it is none of those that are measured.
    """
    wanted = data.evaluation.metric
    if wanted == "auto":
        return measure.metrics[0]
    if wanted not in measure.metrics:
        raise BadSpec(
            f"{FIELD}.metric: {wanted} is not measured on this data; measured are"
            f" {', '.join(measure.metrics)}"
        )
    return wanted


def measure_on(held_out: Rows, index: Rows | None, evaluation: Evaluation, seed: int) -> Measure:
    """How these rows are measured on, whatever was trained on.

    Args:
        held_out: what is searched with, or the scored pairs.
        index: what is searched in; None: held_out's other rows, or what its pairs name.
        evaluation: cutoffs, sizes, and how many examples are shown.
        seed: of what is drawn to be shown and clustered.

    Raises:
        BadSpec: an index beside pairs.
        BadData: no query has a relevant item, so that there is nothing to measure.
    """
    cutoffs, size, shown = evaluation.cutoffs, evaluation.batch_size, evaluation.examples
    if isinstance(held_out, PairRows):
        if index is not None:
            raise BadSpec(f"{FIELD}.index: pairs name what is relevant themselves; give uri alone")
        if held_out.scores_N is not None:
            return ScoredPairs(held_out, size)
        return PairSearch(held_out, cutoffs, size, seed=seed, examples=shown)
    if isinstance(index, PairRows):
        raise _not_alike(index, held_out)
    _check(held_out, index)
    return LabelSearch(held_out, index, cutoffs, size, seed=seed, examples=shown)


def _alike(rows: Rows, others: Rows) -> bool:
    """Whether both are labelled, both are pairs, or both are scored."""
    if isinstance(rows, LabelledRows) or isinstance(others, LabelledRows):
        return type(rows) is type(others)
    return (rows.scores_N is None) == (others.scores_N is None)


def _not_alike(rows: Rows, others: Rows) -> BadData:
    return BadData(
        f"{rows.source}: its rows are not like those of {others.source}; measure on rows of one"
        " layout (labelled, pairs, scored or text-image)"
    )


def _warn_of_shared(held_out: Rows, entries: Sequence[Rows]) -> None:
    for rows in entries:
        if count := shared(_searched(held_out), _searched(rows)):
            log.warning(
                "items both trained on and searched with, metrics are too good items=%d source=%s",
                *(count, rows.source),
            )


def _searched(rows: Rows) -> Identities:
    return (rows.items if isinstance(rows, LabelledRows) else rows.left).identities_N2


def _check(queries: LabelledRows, index: LabelledRows | None) -> None:
    if index is not None:
        relevant = not index.class_sizes.keys().isdisjoint(queries.class_sizes)
    else:
        relevant = any(size > 1 for size in queries.class_sizes.values())
    if not relevant:
        where = f"{index.source}" if index is not None else "the others"
        raise BadData(
            f"{queries.source}: none of the {len(queries)} rows to search with has its label among"
            f" {where}, so there is nothing to measure; set {FIELD} to rows of the same classes, or"
            " a larger split"
        )
