"""The training: epochs of batches, a step each, watched for what goes wrong."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from embedtune_api import spec
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.encoding import Part, encode_parts
from embedtune_trainer.errors import Diverged, Interrupted
from embedtune_trainer.images.prefetch import prefetched
from embedtune_trainer.mixture import Batch, Mixture
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.optimizer import (
    MAX_GRADIENT_NORM,
    build_optimizer,
    learning_rate_factor,
    set_learning_rate,
)
from embedtune_trainer.progress import Reporter

REPORT_EVERY_S = 0.5
"""A GPU is asked for its loss no more often, since asking makes it wait."""


@dataclass(frozen=True)
class FitReport:
    """How a training went.

    Attributes:
        seconds: from the first step's begin to the last one's end.
        steps: optimizer steps.
        rows: rows that the steps saw, repeats counted.
        first_loss: of the first step.
        last_loss: of the last step.
        mean_terms: terms of the loss in a step (triplets above 0, or pairs), on average.
        steps_without_terms: steps from which nothing was learnt.
        largest_change: the largest change of any trained weight; 0 means that nothing was learnt.
        data_wait_ratio: share of the seconds in which the model waited for data.
    """

    seconds: float
    steps: int
    rows: int
    first_loss: float
    last_loss: float
    mean_terms: float
    steps_without_terms: int
    largest_change: float
    data_wait_ratio: float


def fit(
    encoders: Encoders,
    mixture: Mixture,
    training: spec.Training,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
) -> FitReport:
    """Train the encoders in place; they are in evaluation mode afterwards.

    On CUDA the forward pass runs in bfloat16 where the GPU has it; weights, embeddings and loss
    are float32 everywhere.

    Raises:
        Diverged: the loss or a weight is not a number.
        Interrupted: stop() was true before a step.
    """
    run = _Run(encoders, mixture, training)
    reporter.start(len(mixture) * training.epochs, training.epochs)
    before = [parameter.detach().clone() for parameter in run.trained]
    encoders.module.train()
    try:
        report = run.train(reporter, stop, before)
    finally:
        encoders.module.eval()
    _note(report, mixture, training.epochs, reporter)
    return report


class _Run:
    """What lives as long as one training."""

    def __init__(self, encoders: Encoders, mixture: Mixture, training: spec.Training) -> None:
        self.device = encoders.left.device
        self.module = encoders.module
        self.mixture = mixture
        self.training = training
        self.trained = [p for p in encoders.module.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(
            encoders.module, training.learning_rate, training.weight_decay
        )

    def train(
        self, reporter: Reporter, stop: Callable[[], bool], before: list[Tensor]
    ) -> FitReport:
        steps = len(self.mixture) * self.training.epochs
        seen = _Seen(self.device)
        begun = reported = time.perf_counter()
        step = 0
        for epoch, batch, columns, wait_s in self._batches(reporter, stop):
            if stop():
                raise Interrupted(f"stopped before step {step + 1} of {steps}")
            factor = learning_rate_factor(
                step, steps, self.training.warmup_ratio, self.training.scheduler
            )
            set_learning_rate(self.optimizer, self.training.learning_rate * factor)
            outcome, finite = self._step(batch, columns)
            step += 1
            seen.add(outcome, finite, len(batch.rows), wait_s)
            now = time.perf_counter()
            if self.device.type == "cpu" or now - reported >= REPORT_EVERY_S or step in (1, steps):
                reported = now
                seen.report(reporter, step, epoch + 1)
        seconds = time.perf_counter() - begun
        return seen.summary(self.trained, seconds, step, before)

    def _batches(
        self, reporter: Reporter, stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Batch, list[list[Part]], float]]:
        """Epoch, batch, its columns' inputs, and the seconds that the model waited for them."""
        for epoch in range(self.training.epochs):
            self._mine(epoch, reporter, stop)
            seed_everything(self.training.seed, epoch)
            batches = self.mixture.epoch(epoch)
            with closing(prefetched(self._prepare, batches)) as made:
                for batch in batches:
                    begun = time.perf_counter()
                    columns = next(made)
                    yield epoch, batch, columns, time.perf_counter() - begun

    def _prepare(self, batch: Batch) -> list[list[Part]]:
        """The inputs of a batch; images are varied anew in each pass over their rows."""
        vary = None
        if self.training.augmentation == "auto":
            sequence = np.random.SeedSequence((self.training.seed, batch.done, 0xA06))
            vary = int(sequence.generate_state(1)[0])
        return [column.prepare(batch.rows, self.device, vary) for column in batch.task.columns]

    def _mine(self, epoch: int, reporter: Reporter, stop: Callable[[], bool]) -> None:
        """The hard negatives of an epoch, by the encoders as they stand, in evaluation mode."""
        self.module.eval()
        try:
            found = self.mixture.mine(epoch, stop)
        finally:
            self.module.train()
        for place, mined in found.items():
            reporter.note(
                "hard negatives mined",
                data=place,
                epoch=epoch + 1,
                per_row=mined.per_row,
                rows_without=mined.rows_without,
                encoded=mined.items,
                seconds=mined.seconds,
            )

    def _step(self, batch: Batch, columns: list[list[Part]]) -> tuple[BatchLoss, Tensor]:
        """One optimizer step.

        Returns:
            The loss, and whether embeddings and loss are numbers: no miner picks a triplet of
            NaN, so the loss alone would be 0.
        """
        embedded = [
            encode_parts(column.embedder, parts)
            for column, parts in zip(batch.task.columns, columns, strict=True)
        ]
        outcome = batch.task.loss(embedded, batch.rows)
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained, MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        finite = outcome.loss.detach().isfinite()
        for embeddings in embedded:
            finite = finite & embeddings.detach().isfinite().all()
        return outcome, finite


class _Seen:
    """What the steps gave, summed up on the device, so that no step has to wait for it."""

    def __init__(self, device: torch.device) -> None:
        self.first_loss = self.last_loss = 0.0
        self.rows = 0
        self._terms = torch.zeros((), dtype=torch.float64, device=device)
        self._empty = torch.zeros((), dtype=torch.int64, device=device)
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self._loss = torch.zeros((), device=device)
        self._wait_s = 0.0
        self._unreported_rows = 0
        self._unreported_wait_s = 0.0

    def add(self, outcome: BatchLoss, finite: Tensor, rows: int, wait_s: float) -> None:
        self._loss = outcome.loss.detach()
        self._finite &= finite
        self._terms += outcome.terms
        self._empty += outcome.terms == 0
        self.rows += rows
        self._unreported_rows += rows
        self._wait_s += wait_s
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

    def summary(
        self, trained: Sequence[Tensor], seconds: float, steps: int, before: list[Tensor]
    ) -> FitReport:
        changes = [
            (now.detach() - then).abs().amax()
            for now, then in zip(trained, before, strict=True)
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
            mean_terms=float(self._terms) / steps,
            steps_without_terms=int(self._empty),
            largest_change=change,
            data_wait_ratio=self._wait_s / seconds,
        )


_ADVICE = "lower spec.training.learningRate or raise spec.training.warmupRatio"


def seed_everything(seed: int, epoch: int) -> None:
    """Seed dropout and whatever else draws from the global generators, for one epoch."""
    state = np.random.SeedSequence((seed, epoch, 0xD20)).generate_state(1)
    torch.manual_seed(int(state[0]))
    np.random.seed(int(state[0]))
    random.seed(int(state[0]))


def _note(report: FitReport, mixture: Mixture, epochs: int, reporter: Reporter) -> None:
    reporter.note(
        "trained",
        rows=report.rows,
        seconds=round(report.seconds, 1),
        rows_per_s=round(report.rows / report.seconds, 1),
        data_wait=f"{report.data_wait_ratio:.1%}",
    )
    if report.largest_change == 0:
        reporter.note("training changed no weight: the model is the backbone as it was")
    if report.steps_without_terms:
        reporter.note(
            "steps without a triplet to learn from",
            steps=report.steps_without_terms,
            of=report.steps,
        )
    for task, passes in zip(mixture.tasks, mixture.passes(epochs), strict=True):
        where = {"data": task.entry.place} if len(mixture.tasks) > 1 else {}
        if skipped := task.entry.rows.skipped.count:
            reporter.note("wrong rows that were left out", rows=skipped, **where)
        if singletons := task.facts.get("singletons"):
            reporter.note("classes of one row, used as negatives only", classes=singletons, **where)
        if duplicates := task.facts.get("duplicate_rows"):
            reporter.note("rows that repeat another", rows=duplicates, **where)
        if full_texts := task.facts.get("full_texts"):
            reporter.note("texts of the longest length, mostly cut", texts=full_texts, **where)
        if passes < 1:
            reporter.note("not all rows were seen, by its weight", passes=passes, **where)
