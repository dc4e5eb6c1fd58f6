"""What a model is measured on, and the measuring."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from embedtune_api.spec import Data, Dataset, Evaluation
from embedtune_trainer.batches.split import stratified_split
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadData
from embedtune_trainer.evaluation.retrieval import search_metrics
from embedtune_trainer.rows.table import LabelledRows

log = logging.getLogger("embedtune")

DEFAULT_SPLIT = 0.1
FIELD = "spec.data.evaluation"


@dataclass(frozen=True)
class EvaluationTask:
    """A search: every query in the index, or in the other queries when there is no index."""

    queries: LabelledRows
    index: LabelledRows | None = None
    batch_size: int = 256
    """Texts encoded at a time."""


def plan_evaluation(
    data: Data, rows: LabelledRows, seed: int, read: Callable[[Dataset, str], LabelledRows]
) -> tuple[LabelledRows, EvaluationTask]:
    """The rows to train on, and what to measure on.

    Args:
        data: spec.data.
        rows: those of data.train.
        seed: of the split.
        read: fetches and reads another data file; given its place in the spec, for messages.

    Raises:
        BadData: no query has a relevant item, so that there is nothing to measure.
    """
    evaluation = data.evaluation
    index: LabelledRows | None = None
    if evaluation.queries is not None and evaluation.index is not None:
        queries = read(evaluation.queries, f"{FIELD}.queries")
        same_file = evaluation.index == data.train
        index = rows if same_file else read(evaluation.index, f"{FIELD}.index")
    elif evaluation.uri is not None:
        like_train = data.train.model_copy(update={"uri": evaluation.uri})
        queries = read(like_train, FIELD)
    else:
        split = stratified_split(rows, evaluation.split or DEFAULT_SPLIT, seed)
        queries = rows.take(split.held_out.tolist())
        rows = rows.take(split.train.tolist())
        log.info(
            "held out rows=%d of=%d classes=%d ambiguous_texts=%d",
            len(queries),
            len(queries) + len(rows),
            len(queries.class_sizes),
            split.ambiguous_texts,
        )
    _check(queries, index)
    if shared := len(set(queries.items.identities()) & set(rows.items.identities())):
        log.warning(
            "texts both trained on and searched with, metrics are too good texts=%d", shared
        )
    return rows, EvaluationTask(queries, index, evaluation.batch_size)


def headline_metric(evaluation: Evaluation) -> str:
    """The metric that the job is judged by."""
    if evaluation.metric != "auto":
        return evaluation.metric
    return f"ndcg_at_{10 if 10 in evaluation.cutoffs else max(evaluation.cutoffs)}"


def evaluate(
    embedder: Embedder,
    task: EvaluationTask,
    cutoffs: Sequence[int],
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """The metrics of retrieval.py by name, for example ndcg_at_10, from 0 to 1.

    Raises:
        Interrupted: stop() was true.
    """
    known = sorted({*task.queries.labels, *(task.index.labels if task.index else ())})
    number = {label: i for i, label in enumerate(known)}
    queries_QD = embedder.encode(task.queries.items, task.batch_size, stop)
    index_ND = embedder.encode(task.index.items, task.batch_size, stop) if task.index else None
    found = search_metrics(
        queries_QD,
        _labels(task.queries, number),
        index_ND,
        _labels(task.index, number) if task.index else None,
        cutoffs,
    )
    log.info("evaluated queries=%d without_relevant_item=%d", found.queries, found.without_relevant)
    return found.metrics


def _labels(rows: LabelledRows, number: dict[str, int]) -> torch.Tensor:
    return torch.from_numpy(np.fromiter((number[label] for label in rows.labels), np.int64))


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
