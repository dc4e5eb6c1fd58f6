"""A search's metrics out of given embeddings: seconds, and memory beyond the embeddings.

Sides: ours; the whole ranking by torch's argsort, as ours was before and as torchmetrics ranks; and
sentence-transformers' InformationRetrievalEvaluator, which finds the first 100 and no ranks beyond.
Each pass is a process of its own, the sides take turns, and metrics that two sides have are
compared before anything is written.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embedtune_trainer.evaluation.retrieval import paired, same_label, search_metrics

RESULT = Path(__file__).parent / "results" / "retrieval.md"
DIM, CUTOFFS, REPEATS, DEPTH = 384, (1, 5, 10), 3, 100
THREADS = 1
"""Of each pass: where others use the machine, too, threads that wait for each other spin."""
CASES = {  # queries, index, classes; no classes: each query has one item of its own
    "400 relevant items a query": (2_000, 20_000, 50),
    "1 relevant item a query": (2_000, 20_000, None),
    "100 relevant items a query, 10 times the index": (500, 200_000, 2_000),
}
Metrics = dict[str, float]


def data(case: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, index, and the class of each: items scattered about the centre of their class."""
    queries, items, classes = CASES[case]
    generator = torch.Generator().manual_seed(0)
    count = classes or items
    centres = torch.randn(count, DIM, generator=generator)
    of_query = torch.arange(queries) % count
    of_item = torch.randperm(items, generator=generator) % count
    noise = 3.0
    x_QD = centres[of_query] + noise * torch.randn(queries, DIM, generator=generator)
    x_ND = centres[of_item] + noise * torch.randn(items, DIM, generator=generator)
    unit = torch.nn.functional.normalize
    return unit(x_QD, dim=-1), unit(x_ND, dim=-1), of_query, of_item


def ours(case: str) -> Callable[[], Metrics]:
    """search_metrics."""
    x_QD, x_ND, of_query, of_item = data(case)
    if CASES[case][2] is None:
        relevant = paired(of_query, of_item.argsort()[of_query], len(x_QD))
    else:
        relevant = same_label(of_query, of_item)
    return lambda: search_metrics(x_QD, x_ND, relevant, CUTOFFS).metrics


def argsort(case: str) -> Callable[[], Metrics]:
    """The relevance of every item in the order of the whole ranking, by blocks of queries."""
    x_QD, x_ND, of_query, of_item = data(case)

    def act() -> Metrics:
        sums: Metrics = {}
        rows = max(1, 2**23 // len(x_ND))
        rank_N = torch.arange(1, len(x_ND) + 1, dtype=torch.float64)
        gain_N = 1 / torch.log2(rank_N + 1)
        for begin in range(0, len(x_QD), rows):
            score_QN = x_QD[begin : begin + rows] @ x_ND.T
            relevant_QN = of_query[begin : begin + rows, None] == of_item
            order_QN = score_QN.argsort(dim=1, descending=True, stable=True)
            ranked_QN = relevant_QN.gather(1, order_QN).double()
            hits_QN = ranked_QN.cumsum(1)
            count_Q = hits_QN[:, -1]
            found = {
                "map": (ranked_QN * hits_QN / rank_N).sum(1) / count_Q,
                "mrr": 1 / (ranked_QN.argmax(1) + 1).double(),
            }
            for k in CUTOFFS:
                ideal_Q = gain_N.cumsum(0)[count_Q.long().clamp(max=k) - 1]
                found[f"precision_at_{k}"] = hits_QN[:, k - 1] / k
                found[f"recall_at_{k}"] = hits_QN[:, k - 1] / count_Q
                found[f"hit_at_{k}"] = (hits_QN[:, k - 1] > 0).double()
                found[f"ndcg_at_{k}"] = (ranked_QN * gain_N)[:, :k].sum(1) / ideal_Q
            for name, value_Q in found.items():
                sums[name] = sums.get(name, 0.0) + float(value_Q.sum())
        return {name: total / len(x_QD) for name, total in sums.items()}

    return act


def sentence_transformers(case: str) -> Callable[[], Metrics]:
    """Its evaluator, with a model that has the embeddings already."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    x_QD, x_ND, of_query, of_item = data(case)
    queries: dict[str, Any] = {f"q{i}": f"q{i}" for i in range(len(x_QD))}
    corpus: dict[str, Any] = {f"d{i}": f"d{i}" for i in range(len(x_ND))}
    of_class: dict[int, set[str]] = {}
    for item, number in enumerate(of_item.tolist()):
        of_class.setdefault(number, set()).add(f"d{item}")
    relevant = {f"q{i}": of_class[number] for i, number in enumerate(of_query.tolist())}
    evaluator: Any = InformationRetrievalEvaluator(
        queries,
        corpus,
        relevant,
        mrr_at_k=[10],
        ndcg_at_k=list(CUTOFFS),
        accuracy_at_k=list(CUTOFFS),
        precision_recall_at_k=list(CUTOFFS),
        map_at_k=[DEPTH],
        score_functions={"cosine": lambda a, b: a @ b.T},
    )

    class Ready:
        """Stands for a model."""

        similarity_fn_name = "cosine"

        def encode(self, names: list[str], **_: object) -> torch.Tensor:
            """Of queries or of documents, by their first letter."""
            table = x_QD if names[0][0] == "q" else x_ND
            return table[[int(name[1:]) for name in names]]

        encode_query = encode_document = encode

    def act() -> Metrics:
        scores = evaluator.compute_metrices(Ready())["cosine"]
        found: Metrics = {}
        for k in CUTOFFS:
            found[f"ndcg_at_{k}"] = scores["ndcg@k"][k]
            found[f"hit_at_{k}"] = scores["accuracy@k"][k]
            found[f"precision_at_{k}"] = scores["precision@k"][k]
            found[f"recall_at_{k}"] = scores["recall@k"][k]
        return {name: float(value) for name, value in found.items()}

    return act


SIDES = {"embedtune": ours, "argsort": argsort, "sentence-transformers": sentence_transformers}


def measured(side: str, case: str) -> dict[str, object]:
    """One pass in this process."""
    torch.set_num_threads(THREADS)
    act = SIDES[side](case)
    Path("/proc/self/clear_refs").write_text("5")
    before_mb = _status("VmRSS")
    begun = time.perf_counter()
    metrics = act()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "mb": _status("VmHWM") - before_mb, "metrics": metrics}


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def check_equal(case: str, found: dict[str, Metrics]) -> int:
    """How many metrics were compared.

    Raises:
        ValueError: two sides differ by more than rounding.
    """
    compared = 0
    for side, metrics in found.items():
        for name, value in metrics.items():
            # A near tie that rounds the other way moves one query's metric at most.
            if abs(value - found["embedtune"][name]) > 1.5 / CASES[case][0]:
                raise ValueError(f"{case}: {name} is {value} by {side}, not {found['embedtune']}")
            compared += side != "embedtune"
    return compared


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "CASE"), help="a pass, as JSON")
    one = parser.parse_args().one
    if one:
        sys.stdout.write(json.dumps(measured(*one)))
        return 0
    lines = []
    for case, (queries, items, _) in CASES.items():
        passes: dict[str, list[dict]] = {side: [] for side in SIDES}
        for _ in range(REPEATS):
            for side in SIDES:
                command = [sys.executable, __file__, "--one", side, case]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                passes[side].append(json.loads(done.stdout.splitlines()[-1]))
                sys.stderr.write(f"{case}: {side} {passes[side][-1]['seconds']:.2f} s\n")
        compared = check_equal(case, {side: all_[0]["metrics"] for side, all_ in passes.items()})
        own = statistics.median(p["seconds"] for p in passes["embedtune"])
        for side, all_ in passes.items():
            seconds = sorted(p["seconds"] for p in all_)
            middle = statistics.median(seconds)
            lines.append(
                f"| {case} | {queries:,} x {items:,} | {side} | {middle:.2f} ({seconds[0]:.2f} to"
                f" {seconds[-1]:.2f}) | {middle / own:.1f} |"
                f" {statistics.median(p['mb'] for p in all_):,.0f} |"
            )
        sys.stderr.write(f"{case}: {compared} metrics are equal\n")
    load = Path("/proc/loadavg").read_text().split()[0]
    RESULT.write_text(
        f"""# Metrics of a search, out of given embeddings

| relevant | queries x index | side | seconds | times ours | MB beyond the embeddings |
|---|---|---|---|---|---|
{chr(10).join(lines)}

Embeddings of {DIM} dimensions, cutoffs {", ".join(map(str, CUTOFFS))}, {THREADS} thread;\
 medians of {REPEATS} passes, the least and the greatest in brackets. embedtune and argsort also\
 give MAP and MRR over the whole ranking, sentence-transformers ranks {DEPTH} items. Metrics that\
 two sides have are equal.

Command: `python bench/retrieval.py` on {platform.platform()}, load {load}; Python\
 {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}.
""",
        encoding="utf-8",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
