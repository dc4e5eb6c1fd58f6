"""Retrieval metrics against scikit-learn and a naive loop."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, ndcg_score

from embedtune_api.spec import Data
from embedtune_trainer.errors import BadData
from embedtune_trainer.evaluation import retrieval
from embedtune_trainer.evaluation.plan import plan_evaluation
from embedtune_trainer.evaluation.retrieval import paired, same_label, search_metrics
from embedtune_trainer.rows.table import LabelledRows, Texts

CUTOFFS = (1, 3, 10, 50)


def naive(queries, labels, index, index_labels, cutoffs, leave_one_out):
    """One query after the other, by the definitions."""
    values: dict[str, list[float]] = {}
    for q in range(len(queries)):
        items = [i for i in range(len(index)) if not (leave_one_out and i == q)]
        score = {i: float(queries[q] @ index[i]) for i in items}
        ranked = [index_labels[i] == labels[q] for i in sorted(items, key=lambda i: (-score[i], i))]
        total = sum(ranked)
        if not total:
            continue
        hits = np.cumsum(ranked)
        found = {
            "map": sum(hits[i] / (i + 1) for i, r in enumerate(ranked) if r) / total,
            "mrr": 1 / (ranked.index(True) + 1),
            "r_precision": hits[total - 1] / total,
        }
        for k in cutoffs:
            h = sum(ranked[:k])
            dcg = sum(r / math.log2(i + 2) for i, r in enumerate(ranked[:k]))
            ideal = sum(1 / math.log2(i + 2) for i in range(min(k, total)))
            precision, recall = h / k, h / total
            found[f"precision_at_{k}"], found[f"recall_at_{k}"] = precision, recall
            found[f"hit_at_{k}"] = float(h > 0)
            found[f"f1_at_{k}"] = 2 * precision * recall / (precision + recall) if h else 0.0
            found[f"ndcg_at_{k}"] = dcg / ideal
        for name, value in found.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean(v)) for name, v in values.items()}


def unit(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, 6, generator=generator), dim=-1)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("block", [1, 7, 2**22])
@pytest.mark.parametrize("index_block", [1, 4, 2**15])
def test_as_the_loop(monkeypatch, leave_one_out, block, index_block):
    monkeypatch.setattr(retrieval, "BLOCK_ELEMENTS", block)
    monkeypatch.setattr(retrieval, "INDEX_BLOCK", index_block)
    queries, labels = unit(20, 0), torch.arange(20) % 6
    labels[-1] = 99  # no relevant item
    index, index_labels = (
        (queries, labels) if leave_one_out else (unit(31, 1), torch.arange(31) % 5)
    )
    relevance = same_label(labels, index_labels)
    found = search_metrics(queries, None if leave_one_out else index, relevance, CUTOFFS)
    expected = naive(queries, labels.tolist(), index, index_labels.tolist(), CUTOFFS, leave_one_out)
    assert found.metrics.keys() == expected.keys()
    assert found.metrics == pytest.approx(expected, abs=1e-9)
    assert found.without_relevant > 0
    assert found.queries + found.without_relevant == 20


def test_as_scikit_learn():
    queries, index = unit(15, 2), unit(40, 3)
    labels, index_labels = torch.arange(15) % 4, torch.arange(40) % 4
    found = search_metrics(queries, index, same_label(labels, index_labels), (10,)).metrics
    relevant, scores = (labels[:, None] == index_labels).numpy(), (queries @ index.T).numpy()
    each = [average_precision_score(r, s) for r, s in zip(relevant, scores, strict=True)]
    assert found["map"] == pytest.approx(np.mean(each), abs=1e-9)
    assert found["ndcg_at_10"] == pytest.approx(ndcg_score(relevant, scores, k=10), abs=1e-9)


def test_ties_go_by_place_in_the_index():
    same = torch.ones(1, 2)
    relevance = same_label(torch.tensor([1]), torch.tensor([0, 1, 1]))
    found = search_metrics(same, same.repeat(3, 1), relevance, (1,))
    assert found.metrics["mrr"] == 0.5


@pytest.mark.parametrize("index_block", [1, 3, 2**15])
@pytest.mark.parametrize("few", [0, 16])
def test_many_ties_as_the_loop(monkeypatch, index_block, few):
    monkeypatch.setattr(retrieval, "INDEX_BLOCK", index_block)
    monkeypatch.setattr(retrieval, "FEW", few)
    monkeypatch.setattr(retrieval, "COUNTED", 2)
    few = torch.eye(3)
    queries, index = few[torch.arange(9) % 3], few[torch.arange(20) % 2]
    labels, index_labels = torch.arange(9) % 4, torch.arange(20) % 4
    for given, theirs in ((index, index_labels), (None, labels)):
        found = search_metrics(queries, given, same_label(labels, theirs), CUTOFFS).metrics
        where = queries if given is None else given
        expected = naive(queries, labels.tolist(), where, theirs.tolist(), CUTOFFS, given is None)
        assert found == pytest.approx(expected, abs=1e-12)


def test_leave_one_out_can_reach_full_recall():
    x = torch.eye(4)[[0, 0, 1, 1]]
    labels = torch.tensor([0, 0, 1, 1])
    found = search_metrics(x, None, same_label(labels, labels), (1,)).metrics
    assert found["recall_at_1"] == found["map"] == found["ndcg_at_1"] == 1


@pytest.mark.parametrize("block", [1, 2**23])
def test_pairs_are_relevant_as_listed(monkeypatch, block):
    monkeypatch.setattr(retrieval, "BLOCK_ELEMENTS", block)
    queries, index = unit(6, 4), unit(9, 5)
    query = torch.tensor([3, 0, 5, 3, 1])
    item = torch.tensor([8, 2, 2, 8, 7])  # one pair twice
    found = search_metrics(queries, index, paired(query, item, 6), CUTOFFS)
    table = torch.zeros(6, 9, dtype=torch.bool)
    table[query, item] = True
    scores = (queries @ index.T).numpy()
    each = [
        average_precision_score(r, s) for r, s in zip(table.numpy(), scores, strict=True) if r.any()
    ]
    assert found.values["map"] == pytest.approx(each, abs=1e-9)
    assert (found.queries, found.without_relevant) == (4, 2)


def rows(labels, source="s3://bkt/t.csv"):
    return LabelledRows(Texts([f"{source} {i}" for i in range(len(labels))]), list(labels), source)


def plan(evaluation, train, others):
    data = Data.parse({"train": {"uri": "s3://bkt/t.csv"}, "evaluation": evaluation})
    (kept,), measure = plan_evaluation(data, [train], 0, lambda dataset, _: others[dataset.uri])
    return kept, measure


def test_each_kind_of_evaluation():
    train = rows("ab" * 50)
    kept, task = plan({"split": 0.2}, train, {})
    assert len(kept) + len(task.queries) == 100
    assert len(task.queries) == pytest.approx(20, abs=2)
    other = rows("aabb", "s3://bkt/e.csv")
    kept, task = plan({"uri": "s3://bkt/e.csv"}, train, {"s3://bkt/e.csv": other})
    assert (kept, task.queries, task.index) == (train, other, None)
    pair = {"queries": {"uri": "s3://bkt/e.csv"}, "index": {"uri": "s3://bkt/t.csv"}}
    _, task = plan(pair, train, {"s3://bkt/e.csv": other})
    assert task.index is train  # read once


def test_nothing_to_measure_is_said():
    with pytest.raises(BadData, match="none of the 2 rows to search with has its label"):
        plan(
            {"uri": "s3://bkt/e.csv"},
            rows("ab" * 9),
            {"s3://bkt/e.csv": rows("xy", "s3://bkt/e.csv")},
        )
