"""embedtune beside sentence-transformers on the TREC questions: quality, and seconds of training.

Both train all-MiniLM-L6-v2 for one epoch on 5,452 questions of 50 classes (batch 64, learning rate
5e-5) with a semi-hard triplet loss at margin 0.2, and are measured by searching the 500 test
questions in the training questions. Both embed the texts themselves, and one metric code, checked
against scikit-learn, judges both. They take turns, so that a slow moment of the machine meets both.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentence_transformers
import torch
import transformers
from datasets import Dataset as HfDataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import (
    BatchHardTripletLossDistanceFunction,
    BatchSemiHardTripletLoss,
)
from sentence_transformers.training_args import BatchSamplers
from sklearn.metrics import average_precision_score
from torch.nn.functional import normalize

import localassets
from embedtune_api.spec import Dataset, Encoder, Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.evaluation.retrieval import same_label, search_metrics
from embedtune_trainer.mixture import build_mixture
from embedtune_trainer.objectives.choice import Entry
from embedtune_trainer.rows.read import Wanted, read_rows
from embedtune_trainer.rows.table import Items, LabelledRows, Texts
from embedtune_trainer.training.fit import fit

RESULT = Path(__file__).parent / "results" / "trec.md"
EPOCHS, BATCH, RATE, MARGIN = 1, 64, 5e-5, 0.2


@dataclass(frozen=True)
class Outcome:
    """One training."""

    system: str
    seed: int
    precision: float
    average_precision: float
    seconds: float


class Silent:
    """A reporter that drops everything."""

    def phase(self, name: str) -> None:
        """Nothing."""

    def start(self, steps: int, epochs: int) -> None:
        """Nothing."""

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        """Nothing."""

    def measured(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def note(self, message: str, **facts: object) -> None:
        """Nothing."""


class Judge:
    """Measures embeddings of the same texts, whoever made them."""

    def __init__(self, train: LabelledRows, test: LabelledRows) -> None:
        self.train, self.test = train, test
        number = {label: i for i, label in enumerate(sorted({*train.labels, *test.labels}))}
        self._relevance = same_label(
            *(torch.tensor([number[label] for label in side.labels]) for side in (test, train))
        )

    def __call__(self, encode: Callable[[Items], torch.Tensor]) -> tuple[float, float]:
        """P@1 and mAP; fails if scikit-learn finds another mAP."""
        queries, index = encode(self.test.items), encode(self.train.items)
        found = search_metrics(queries, index, self._relevance, (1,))
        scores = (normalize(queries, dim=-1) @ normalize(index, dim=-1).T).double().numpy()
        scores -= 1e-12 * np.arange(scores.shape[1])  # of equal ones, the earlier goes first
        relevant = self._relevance(0, len(queries)).numpy()
        second = np.mean(
            [
                average_precision_score(r, s)
                for r, s in zip(relevant, scores, strict=True)
                if r.any()
            ]
        )
        if abs(second - found.metrics["map"]) > 1e-4:
            raise AssertionError(f"mAP {found.metrics['map']}, but scikit-learn finds {second}")
        return found.metrics["precision_at_1"], found.metrics["map"]


def embedtune(seed: int, judge: Judge) -> Outcome:
    """One training with embedtune."""
    folder = localassets.minilm()
    embedder = load_encoder(Fetched("", folder), Encoder(backbone=f"file://{folder}"), seed)
    training = Training(epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE, seed=seed)
    objective = Objective(loss_options={"margin": MARGIN})
    encoders = Encoders.single(embedder)
    mixture = build_mixture(encoders, (Entry(judge.train),), objective, training)
    report = fit(encoders, mixture, training, Silent())
    return Outcome("embedtune", seed, *judge(embedder.encode), report.seconds)


def sentence_transformer(seed: int, judge: Judge) -> Outcome:
    """One training with sentence-transformers' own trainer."""
    model = SentenceTransformer(str(localassets.minilm()), device="cpu")
    labels = {label: i for i, label in enumerate(sorted(set(judge.train.labels)))}
    data = HfDataset.from_dict(
        {"sentence": texts_of(judge.train), "label": [labels[x] for x in judge.train.labels]}
    )
    distance = BatchHardTripletLossDistanceFunction.cosine_distance
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=scratch,
                num_train_epochs=EPOCHS,
                per_device_train_batch_size=BATCH,
                learning_rate=RATE,
                warmup_ratio=0.1,
                batch_sampler=BatchSamplers.GROUP_BY_LABEL,
                seed=seed,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=data,
            loss=BatchSemiHardTripletLoss(model, distance_metric=distance, margin=MARGIN),
        )
        begun = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begun
    return Outcome("sentence-transformers", seed, *judge(encoder(model)), seconds)


def encoder(model: SentenceTransformer) -> Callable[[Items], torch.Tensor]:
    """Texts to embeddings on the CPU."""
    return lambda items: torch.from_numpy(model.encode(list(items.values), show_progress_bar=False))


def texts_of(rows: LabelledRows) -> list[str]:
    """The rows' texts."""
    assert isinstance(rows.items, Texts)
    return list(rows.items.values)


def check_same_start(judge: Judge) -> tuple[float, float]:
    """Both embed alike before training; the metrics of that start."""
    folder = localassets.minilm()
    ours = load_encoder(Fetched("", folder), Encoder(backbone=f"file://{folder}"), 0).encode(
        judge.test.items
    )
    model = SentenceTransformer(str(folder), device="cpu")
    theirs = encoder(model)(judge.test.items)
    if (difference := float((ours - theirs).abs().max())) > 1e-5:
        raise AssertionError(f"before training the embeddings differ by {difference}")
    return judge(encoder(model))


def table(outcomes: list[Outcome], start: tuple[float, float]) -> str:
    """The result as Markdown."""
    lines = [
        "| system | seed | P@1 | mAP | seconds of training |",
        "|---|---|---|---|---|",
        f"| before | - | {start[0]:.3f} | {start[1]:.3f} | - |",
    ]
    lines += [
        f"| {o.system} | {o.seed} | {o.precision:.3f} | {o.average_precision:.3f}"
        f" | {o.seconds:.1f} |"
        for o in sorted(outcomes, key=lambda o: (o.system, o.seed))
    ]
    for system in sorted({o.system for o in outcomes}):
        own = [o for o in outcomes if o.system == system]
        means = [
            float(np.mean([getattr(o, name) for o in own]))
            for name in ("precision", "average_precision", "seconds")
        ]
        lines.append(f"| {system} | mean | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the comparison and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    paths = localassets.trec()
    train, test = (
        read_rows(p, Dataset(uri=f"file://{p}"), Wanted("text", "text"))
        for p in (paths.train, paths.test)
    )
    judge = Judge(train, test)
    start = check_same_start(judge)
    outcomes: list[Outcome] = []
    for turn, seed in enumerate(options.seeds):
        systems = (embedtune, sentence_transformer)
        for system in systems if turn % 2 == 0 else systems[::-1]:
            outcomes.append(system(seed, judge))
            print(outcomes[-1], flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        f"# TREC fine labels, all-MiniLM-L6-v2, 1 epoch\n\n{table(outcomes, start)}\n\n"
        f"Command: `PYTHONPATH=local python bench/trec.py --seeds"
        f" {' '.join(map(str, options.seeds))}` on {platform.platform()}, {os.cpu_count()} cores,"
        f" {options.threads} threads, load {os.getloadavg()[1]:.1f};"
        f" Python {platform.python_version()}, torch {torch.__version__},"
        f" transformers {transformers.__version__},"
        f" sentence-transformers {sentence_transformers.__version__}.\n"
    )


if __name__ == "__main__":
    main()
