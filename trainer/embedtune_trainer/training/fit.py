"""The training: epochs of batches, a step each, watched for what goes wrong."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np

from embedtune_api import spec
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.encoding import Part
from embedtune_trainer.errors import Interrupted
from embedtune_trainer.images.prefetch import prefetched
from embedtune_trainer.mixture import Batch, Mixture
from embedtune_trainer.progress import Reporter
from embedtune_trainer.training.step import Stepper
from embedtune_trainer.training.watch import FitReport, Watch

REPORT_EVERY_S = 0.5
"""A GPU is asked for its loss no more often, since asking makes it wait."""


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
        Collapsed: all embeddings have become alike.
        NothingLearnt: no step of the first epoch had anything to learn from, or no weight changed.
        Interrupted: stop() was true before a step.
    """
    run = _Run(encoders, mixture, training, reporter, stop)
    encoders.module.train()
    try:
        report = run.train()
    finally:
        encoders.module.eval()
    _note(report, mixture, training.epochs, reporter)
    return report


class _Run:
    """What lives as long as one training."""

    def __init__(
        self,
        encoders: Encoders,
        mixture: Mixture,
        training: spec.Training,
        reporter: Reporter,
        stop: Callable[[], bool],
    ) -> None:
        self.device = encoders.left.device
        self.module = encoders.module
        self.mixture = mixture
        self.training = training
        self.reporter = reporter
        self.stop = stop
        self.steps = len(mixture) * training.epochs
        self.stepper = Stepper(encoders.module, training, self.steps)
        self.watch = Watch(self.device)

    def train(self) -> FitReport:
        self.reporter.start(self.steps, self.training.epochs)
        before = [parameter.detach().clone() for parameter in self.stepper.trained]
        begun = reported = time.perf_counter()
        step = 0
        for epoch in range(self.training.epochs):
            for batch, columns, wait_s in self._batches(epoch):
                if self.stop():
                    raise Interrupted(f"stopped before step {step + 1} of {self.steps}")
                outcome = self.stepper.take(step, batch, columns)
                step += 1
                self.watch.add(outcome, len(batch.rows), wait_s)
                now = time.perf_counter()
                waited = self.device.type == "cpu" or now - reported >= REPORT_EVERY_S
                if waited or step in (1, self.steps):
                    reported = now
                    self.watch.report(self.reporter, step, epoch + 1)
            self.watch.check_learning(step)
        seconds = time.perf_counter() - begun
        return self.watch.summary(self.stepper.trained, seconds, step, before)

    def _batches(self, epoch: int) -> Iterator[tuple[Batch, list[list[Part]], float]]:
        """Batch, its columns' inputs, and the seconds that the model waited for them."""
        self._mine(epoch)
        batches = self.mixture.epoch(epoch)
        with closing(prefetched(self._prepare, batches)) as made:
            for batch in batches:
                begun = time.perf_counter()
                columns = next(made)
                yield batch, columns, time.perf_counter() - begun

    def _prepare(self, batch: Batch) -> list[list[Part]]:
        """The inputs of a batch; images are varied anew in each pass over their rows."""
        vary = None
        if self.training.augmentation == "auto":
            sequence = np.random.SeedSequence((self.training.seed, batch.done, 0xA06))
            vary = int(sequence.generate_state(1)[0])
        return [column.prepare(batch.rows, self.device, vary) for column in batch.task.columns]

    def _mine(self, epoch: int) -> None:
        """The hard negatives of an epoch, by the encoders as they stand, in evaluation mode."""
        self.module.eval()
        try:
            found = self.mixture.mine(epoch, self.stop)
        finally:
            self.module.train()
        for place, mined in found.items():
            self.reporter.note(
                "hard negatives mined",
                data=place,
                epoch=epoch + 1,
                per_row=mined.per_row,
                rows_without=mined.rows_without,
                encoded=mined.items,
                seconds=mined.seconds,
            )


def _note(report: FitReport, mixture: Mixture, epochs: int, reporter: Reporter) -> None:
    reporter.note(
        "trained",
        rows=report.rows,
        seconds=round(report.seconds, 1),
        rows_per_s=round(report.rows / report.seconds, 1),
        data_wait=f"{report.data_wait_ratio:.1%}",
    )
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
