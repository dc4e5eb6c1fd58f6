"""Which rows are trained on and which are measured on."""

import logging
from collections.abc import Callable

from embedtune_api.spec import Data, Dataset
from embedtune_trainer.batches.split import split_rows
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.evaluation.measures import LabelSearch, Measure, PairSearch, ScoredPairs
from embedtune_trainer.rows.table import LabelledRows, PairRows, Rows

log = logging.getLogger("embedtune")

DEFAULT_SPLIT = 0.1
FIELD = "spec.data.evaluation"
Read = Callable[[Dataset, str], Rows]


def plan_evaluation(data: Data, rows: Rows, seed: int, read: Read) -> tuple[Rows, Measure]:
    """The rows to train on, and what to measure on.

    Args:
        data: spec.data.
        rows: those of data.train.
        seed: of the split.
        read: fetches and reads another data file; given its place in the spec, for messages.

    Raises:
        BadData: no query has a relevant item, so that there is nothing to measure; or rows of
            another layout than the training's.
        BadSpec: the headline metric is none of those that are measured.
    """
    evaluation = data.evaluation
    index: Rows | None = None
    if evaluation.queries is not None and evaluation.index is not None:
        held_out = read(evaluation.queries, f"{FIELD}.queries")
        same_file = evaluation.index == data.train
        index = rows if same_file else read(evaluation.index, f"{FIELD}.index")
    elif evaluation.uri is not None:
        like_train = data.train.model_copy(update={"uri": evaluation.uri, "limit": None})
        held_out = read(like_train, FIELD)
    else:
        rows, held_out = split_rows(rows, evaluation.split or DEFAULT_SPLIT, seed)
    measure = _measure(data, rows, held_out, index)
    headline_metric(data, measure)
    return rows, measure


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


def _measure(data: Data, rows: Rows, held_out: Rows, index: Rows | None) -> Measure:
    evaluation = data.evaluation
    if isinstance(held_out, PairRows) and isinstance(rows, PairRows):
        if index is not None:
            raise BadSpec(f"{FIELD}.index: pairs name what is relevant themselves; give uri alone")
        if rows.scores_N is not None and held_out.scores_N is not None:
            return ScoredPairs(held_out, evaluation.batch_size)
        if rows.scores_N is None and held_out.scores_N is None:
            _warn_of_shared(held_out, rows)
            return PairSearch(held_out, evaluation.cutoffs, evaluation.batch_size)
    elif (
        isinstance(held_out, LabelledRows)
        and isinstance(rows, LabelledRows)
        and not isinstance(index, PairRows)
    ):
        _check(held_out, index)
        _warn_of_shared(held_out, rows)
        return LabelSearch(held_out, index, evaluation.cutoffs, evaluation.batch_size)
    raise BadData(
        f"{held_out.source}: its rows are not like those of {rows.source}; measure on rows of one"
        f" layout (labelled, pairs, scored or text-image) with the training's"
    )


def _warn_of_shared(held_out: Rows, rows: Rows) -> None:
    sides = [
        set((side.items if isinstance(side, LabelledRows) else side.left).identities())
        for side in (held_out, rows)
    ]
    if shared := len(sides[0] & sides[1]):
        log.warning(
            "items both trained on and searched with, metrics are too good items=%d", shared
        )


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
