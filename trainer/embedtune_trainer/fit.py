"""The training: epochs of batches, a step each, watched for what goes wrong."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedtune_api import spec
from embedtune_trainer.batches.microbatch import cut_by_length
from embedtune_trainer.batches.sampler import ClassSampler
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.tokens import TokenTable
from embedtune_trainer.errors import Diverged, Interrupted
from embedtune_trainer.objectives.triplet import BatchLoss, TripletObjective, build_objective
from embedtune_trainer.optimizer import (
    MAX_GRADIENT_NORM,
    build_optimizer,
    learning_rate_factor,
    set_learning_rate,
)
from embedtune_trainer.progress import Reporter
from embedtune_trainer.rows.csv_file import check_trainable
from embedtune_trainer.rows.table import LabelledRows

REPORT_EVERY_S = 0.5
"""A GPU is asked for its loss no more often, since asking makes it wait."""
PART_OVERHEAD = {"cpu": 64, "cuda": 4096}
"""What encoding one more part of a batch costs, in tokens; see microbatch."""
PART_BUDGET = 65536
"""Most padded tokens that are encoded at a time."""


@dataclass(frozen=True)
class FitReport:
    """How a training went.

    Attributes:
        seconds: from the first step's begin to the last one's end.
        steps: optimizer steps.
        rows: rows that the steps saw, repeats counted.
        first_loss: of the first step.
        last_loss: of the last step.
        mean_triplets: triplets with a loss above 0 in a step, on average.
        steps_without_triplets: steps from which nothing was learnt.
        largest_change: the largest change of any trained weight; 0 means that nothing was learnt.
        singletons: classes of one row, which serve as negatives only.
        full_texts: texts as long as the longest there may be, most of them cut.
    """

    seconds: float
    steps: int
    rows: int
    first_loss: float
    last_loss: float
    mean_triplets: float
    steps_without_triplets: int
    largest_change: float
    singletons: int
    full_texts: int


def fit(
    embedder: Embedder,
    rows: LabelledRows,
    objective: spec.Objective,
    training: spec.Training,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
) -> FitReport:
    """Train the embedder in place; it is in evaluation mode afterwards.

    On CUDA the forward pass runs in bfloat16 where the GPU has it; weights, embeddings and loss
    are float32 everywhere.

    Raises:
        BadSpec: a wrong option of the objective.
        BadData: rows that no triplet can be made of.
        Diverged: the loss or a weight is not a number.
        Interrupted: stop() was true before a step.
    """
    check_trainable(rows)
    run = _Run(embedder, rows, build_objective(objective), objective, training)
    reporter.start(len(run.sampler) * training.epochs, training.epochs)
    before = [parameter.detach().clone() for parameter in run.trained]
    embedder.train()
    try:
        report = run.train(reporter, stop, before)
    finally:
        embedder.eval()
    _note(report, reporter)
    return report


class _Run:
    """What lives as long as one training."""

    def __init__(
        self,
        embedder: Embedder,
        rows: LabelledRows,
        loss: TripletObjective,
        objective: spec.Objective,
        training: spec.Training,
    ) -> None:
        self.embedder = embedder
        self.training = training
        self.loss = loss
        self.trained = [p for p in embedder.parameters() if p.requires_grad]
        self.table = embedder.processor.table(rows.items)
        _, classes = np.unique(np.asarray(rows.labels, dtype=object), return_inverse=True)
        self.labels_N: NDArray[np.int64] = classes.astype(np.int64)
        self.sampler = ClassSampler(
            self.labels_N, training.batch_size, objective.items_per_class, training.seed
        )
        self.optimizer = build_optimizer(embedder, training.learning_rate, training.weight_decay)

    def train(
        self, reporter: Reporter, stop: Callable[[], bool], before: list[Tensor]
    ) -> FitReport:
        steps = len(self.sampler) * self.training.epochs
        device = self.embedder.device
        seen = _Seen(device)
        begun = reported = time.perf_counter()
        step = 0
        for epoch in range(self.training.epochs):
            seed_everything(self.training.seed, epoch)
            for batch in self.sampler.epoch(epoch):
                if stop():
                    raise Interrupted(f"stopped before step {step + 1} of {steps}")
                factor = learning_rate_factor(
                    step, steps, self.training.warmup_ratio, self.training.scheduler
                )
                set_learning_rate(self.optimizer, self.training.learning_rate * factor)
                wait_s, outcome, finite = self._step(batch)
                step += 1
                seen.add(outcome, finite, len(batch), wait_s)
                now = time.perf_counter()
                if device.type == "cpu" or now - reported >= REPORT_EVERY_S or step in (1, steps):
                    reported = now
                    seen.report(reporter, step, epoch + 1)
        seconds = time.perf_counter() - begun
        return seen.summary(self, seconds, step, before)

    def _step(self, batch: NDArray[np.int64]) -> tuple[float, BatchLoss, Tensor]:
        """One optimizer step.

        Returns:
            The seconds that the model waited for data, the loss, and whether embeddings and loss
            are numbers: no miner picks a triplet of NaN, so the loss alone would be 0.
        """
        embeddings, wait_s = encode_batch(self.embedder, self.table, batch)
        outcome = self.loss(embeddings, torch.from_numpy(self.labels_N[batch]))
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained, MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        finite = embeddings.detach().isfinite().all() & outcome.loss.detach().isfinite()
        return wait_s, outcome, finite


class _Seen:
    """What the steps gave, summed up on the device, so that no step has to wait for it."""

    def __init__(self, device: torch.device) -> None:
        self.first_loss = self.last_loss = 0.0
        self.rows = 0
        self._triplets = torch.zeros((), dtype=torch.float64, device=device)
        self._empty = torch.zeros((), dtype=torch.int64, device=device)
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self._loss = torch.zeros((), device=device)
        self._unreported_rows = 0
        self._unreported_wait_s = 0.0

    def add(self, outcome: BatchLoss, finite: Tensor, rows: int, wait_s: float) -> None:
        self._loss = outcome.loss.detach()
        self._finite &= finite
        self._triplets += outcome.triplets
        self._empty += outcome.triplets == 0
        self.rows += rows
        self._unreported_rows += rows
        self._unreported_wait_s += wait_s

    def report(self, reporter: Reporter, step: int, epoch: int) -> None:
        self.last_loss = float(self._loss)
        if step == 1:
            self.first_loss = self.last_loss
        if not bool(self._finite):
            raise Diverged(
                f"embeddings or loss are not numbers at or before step {step}; {_ADVICE}"
            )
        reporter.step(step, epoch, self.last_loss, self._unreported_rows, self._unreported_wait_s)
        self._unreported_rows = 0
        self._unreported_wait_s = 0.0

    def summary(self, run: _Run, seconds: float, steps: int, before: list[Tensor]) -> FitReport:
        changes = [
            (now.detach() - then).abs().amax()
            for now, then in zip(run.trained, before, strict=True)
            if now.numel()
        ]
        change = float(torch.stack(changes).amax())
        if not np.isfinite(change):
            raise Diverged(f"a weight is not a number after step {steps}; {_ADVICE}")
        return FitReport(
            seconds=seconds,
            steps=steps,
            rows=self.rows,
            first_loss=self.first_loss,
            last_loss=self.last_loss,
            mean_triplets=float(self._triplets) / steps,
            steps_without_triplets=int(self._empty),
            largest_change=change,
            singletons=run.sampler.singletons,
            full_texts=run.table.full,
        )


_ADVICE = "lower spec.training.learningRate or raise spec.training.warmupRatio"


def encode_batch(
    embedder: Embedder, table: TokenTable, batch: NDArray[np.int64]
) -> tuple[Tensor, float]:
    """(B, D) embeddings of a batch in its order, encoded in parts of like length (microbatch).

    Returns:
        The embeddings, and the seconds that making the parts took.
    """
    device = embedder.device
    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    wait_s = 0.0
    out: list[Tensor] = []
    parts = cut_by_length(table.lengths_N[batch], PART_OVERHEAD[device.type], PART_BUDGET)
    for part in parts:
        begun = time.perf_counter()
        tokens = embedder.processor.batch(table, batch[part], device)
        wait_s += time.perf_counter() - begun
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            out.append(embedder(tokens))
    back_B = torch.from_numpy(np.argsort(np.concatenate(parts)))
    return torch.cat(out)[back_B.to(device, non_blocking=True)], wait_s


def seed_everything(seed: int, epoch: int) -> None:
    """Seed dropout and whatever else draws from the global generators, for one epoch."""
    state = np.random.SeedSequence((seed, epoch, 0xD20)).generate_state(1)
    torch.manual_seed(int(state[0]))
    np.random.seed(int(state[0]))
    random.seed(int(state[0]))


def _note(report: FitReport, reporter: Reporter) -> None:
    if report.largest_change == 0:
        reporter.note("training changed no weight: the model is the backbone as it was")
    if report.steps_without_triplets:
        reporter.note(
            "steps without a triplet to learn from",
            steps=report.steps_without_triplets,
            of=report.steps,
        )
    if report.singletons:
        reporter.note("classes of one row, used as negatives only", classes=report.singletons)
    if report.full_texts:
        reporter.note("texts of the longest length, mostly cut", texts=report.full_texts)
