"""The training: epochs of batches, a step each, watched for what goes wrong."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from embedtune_api import spec
from embedtune_trainer.checkpoints.keeper import Keeper
from embedtune_trainer.checkpoints.shared import from_main
from embedtune_trainer.checkpoints.state import Stateful, capture, restore, weights
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.errors import Interrupted, PeerStopped
from embedtune_trainer.images.prefetch import prefetched
from embedtune_trainer.mixture import Batch, Mixture
from embedtune_trainer.negatives import Mined
from embedtune_trainer.processes import ALONE, Processes
from embedtune_trainer.progress import Reporter
from embedtune_trainer.training.distributed import World
from embedtune_trainer.training.evaluations import Evaluations
from embedtune_trainer.training.inputs import EncoderInputs, Preparer
from embedtune_trainer.training.memory import find_micro_batch
from embedtune_trainer.training.selection import interpolate
from embedtune_trainer.training.step import LossOptimizer, Stepper
from embedtune_trainer.training.stopwatch import Stopwatch
from embedtune_trainer.training.watch import FitReport, Watch

REPORT_EVERY_S = 0.5
"""A GPU is asked for its loss no more often, since asking makes it wait."""


@dataclass(frozen=True)
class Beside:
    """What a training has beside it.

    Attributes:
        loss_optimizer: of weights that losses have of their own; None: as the encoders'.
        keeper: of checkpoints: the training goes on from the newest, and leaves one more when it
            is told to stop.
            In processes that are not the main one there is none.
        evaluations: on the way; it may end early by them, or keep other weights than the last.
        processes: that train together; all of them take the same way through the training.
    """

    loss_optimizer: LossOptimizer | None = None
    keeper: Keeper | None = None
    evaluations: Evaluations | None = None
    processes: Processes = ALONE


def fit(
    encoders: Encoders,
    mixture: Mixture,
    training: spec.Training,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
    beside: Beside | None = None,
) -> FitReport:
    """Train the encoders in place; they are in evaluation mode afterwards.

    The forward pass runs in what spec.training.precision says; weights, embeddings and loss are
    float32 everywhere.

    Raises:
        Diverged: the loss or a weight is not a number.
        Collapsed: all embeddings have become alike.
        NothingLearnt: no step of the first epoch had anything to learn from, or no weight changed.
        Interrupted: stop() was true before a step.
        BadSpec: the newest checkpoint is of another run.
    """
    run = _Run(encoders, mixture, training, reporter, stop, beside or Beside())
    encoders.module.train()
    try:
        report = run.train()
    finally:
        encoders.module.eval()
    _note(report, mixture, training.epochs, reporter)
    return report


class _Run:
    """What lives as long as one training.

    Attributes:
        step: steps done; whatever was due after the last of them is done, too.
        carried: what goes from step to step besides the weights, see checkpoints.state.
    """

    def __init__(
        self,
        encoders: Encoders,
        mixture: Mixture,
        training: spec.Training,
        reporter: Reporter,
        stop: Callable[[], bool],
        beside: Beside,
    ) -> None:
        self.device = encoders.left.device
        self.module = encoders.module
        self.mixture = mixture
        self.training = training
        self.reporter = reporter
        self.stop = stop
        self.steps = len(mixture) * training.epochs
        self.processes = beside.processes
        world = World.of(self.processes)
        columns = [column for task in mixture.tasks for column in task.columns]
        self.micro_batch = find_micro_batch(columns, training, world)
        self.preparer = Preparer(columns, self.micro_batch, world)
        losses = [task.loss_module for task in mixture.tasks if task.loss_module is not None]
        self.stepper = Stepper(
            encoders.module,
            training,
            self.steps,
            losses=losses,
            loss_optimizer=beside.loss_optimizer,
            world=world,
        )
        self.watch = Watch(self.device)
        self.reported_at = float("-inf")
        self.stopwatch = Stopwatch()
        self.step = 0
        self.carried: dict[str, Stateful] = {
            "stepper": self.stepper,
            "watch": self.watch,
            "stopwatch": self.stopwatch,
        }
        self.keeper, self.evaluations = beside.keeper, beside.evaluations
        if self.keeper is not None:
            self.carried |= self.keeper.also
            found = {"batch_size": training.rows_in_batch, "micro_batch": self.micro_batch}
            self.keeper.found = found
        if self.evaluations is not None:
            self.carried["evaluations"] = self.evaluations

    def train(self) -> FitReport:
        self.reporter.start(self.steps, self.training.epochs)
        before = {name: tensor.detach().clone() for name, tensor in weights(self.module).items()}
        self._go_on()
        try:
            self._measure_if_due()
            for epoch in range(self.step // len(self.mixture), self.training.epochs):
                if not self.over:
                    self._take_epoch(epoch)
        except Interrupted:
            self._leave_checkpoint()
            raise
        self.stepper.finish()
        report = self.processes.on_main(
            lambda: self.watch.summary(self.module, before, self.stopwatch.seconds, self.step)
        )
        kept_step = self._keep(before)
        return replace(
            report,
            batch_size=self.training.rows_in_batch,
            micro_batch=self.micro_batch,
            learning_rate=self.stepper.learning_rate,
            stopped_early=self.step < self.steps,
            kept_step=kept_step,
        )

    @property
    def over(self) -> bool:
        """Whether it is to end before its last step."""
        return self.evaluations is not None and self.evaluations.selection.over

    def _keep(self, before: dict[str, Tensor]) -> int:
        """Leave in the module the weights that are kept; the step that they are of."""
        kept_step = self.step
        if self.evaluations is not None:
            self.evaluations.selection.finish()
            kept_step = self.evaluations.selection.kept_step or self.step
        if self.training.wise_ft is not None:
            interpolate(before, self.module, self.training.wise_ft.alpha)
        return kept_step

    def _go_on(self) -> None:
        """From the newest checkpoint, if there is one."""
        found = None if self.keeper is None else self.keeper.newest(self.device)
        if (found := from_main(found, self.processes)) is not None:
            self.step, state = found
            restore(state, self.module, self.mixture.tasks, self.carried)

    def _state(self) -> dict[str, Any]:
        return capture(self.module, self.mixture.tasks, self.carried)

    @property
    def _alike(self) -> bool:
        """Whether the processes hold the same, as they do between two updates.

        Within one, each has the gradient of its own share of the batches so far.
        """
        return self.processes.size == 1 or self.step % self.training.accumulate == 0

    def _take_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are not yet done."""
        for batch, columns, wait_s in self._batches(epoch):
            self._stop_if_told()
            outcome = self.stepper.take(self.step, batch, columns)
            self.step += 1
            self.watch.add(outcome, len(batch.rows), wait_s)
            if self.processes.is_main:
                self._tell(epoch)
            self._measure_if_due()
            if self.over:
                if self.processes.is_main:
                    self.watch.check_learning(self.step)
                return
            if self.keeper is not None and self._alike and self.keeper.due(self.step, self.steps):
                self.keeper.offer(self.step, self._state(), self.device)

    def _stop_if_told(self) -> None:
        """End if any process has been told to stop: all of them do, before the same step.

        For that the hosts have to speak to each other before each update; no device is waited for.

        Raises:
            Interrupted: one has.
        """
        told = self.stop()
        if not self._alike or not self.processes.any(told):
            return
        where = f"stopped before step {self.step + 1} of {self.steps}"
        if self.processes.several_nodes and not told:
            raise PeerStopped(f"{where}, since another node's process was told to")
        raise Interrupted(where)

    def _leave_checkpoint(self) -> None:
        """The main process leaves one, the others stay so long: torchrun ends all after the first.

        Interrupted is raised in all processes or in none, see Processes.on_main.
        """
        if self.keeper is not None and self._alike:
            self.keeper.offer_last(self.step, self._state, self.device)
        self.processes.barrier()

    def _tell(self, epoch: int) -> None:
        """How it goes, and whether it goes wrong; on a GPU now and then, since that waits."""
        now = time.perf_counter()
        waited = self.device.type == "cpu" or now - self.reported_at >= REPORT_EVERY_S
        if waited or self.step in (1, self.steps):
            self.reported_at = now
            self.watch.report(self.reporter, self.step, epoch + 1)
            self.reporter.measured(self.step, epoch + 1, self.stepper.facts())
        if self.step == (epoch + 1) * len(self.mixture):
            self.watch.check_learning(self.step)

    def _measure_if_due(self) -> None:
        """Measure the model as it stands, with averaged weights if it has them."""
        if self.evaluations is None or not self.evaluations.due(self.step):
            return
        self.module.eval()
        try:
            with self.stopwatch.held(), self.stepper.averaged():
                loss = self.processes.on_main(lambda: self.watch.mean_loss)
                metrics = self.evaluations.take(self.step, loss)
        finally:
            self.module.train()
        self.watch.begin_mean()
        self.reporter.measured(self.step, -(-self.step // len(self.mixture)), metrics)

    def _batches(self, epoch: int) -> Iterator[tuple[Batch, list[EncoderInputs], float]]:
        """Of an epoch's batches that are left each, its columns' inputs, and how long they took.

        What was mined for an epoch that has begun is part of its checkpoint.
        """
        done = self.step - epoch * len(self.mixture)
        if done == 0:
            self._mine(epoch)
        batches = self.mixture.epoch(epoch)[done:]
        with closing(prefetched(self._prepare, batches)) as made:
            for batch in batches:
                begun = time.perf_counter()
                columns = next(made)
                yield batch, columns, time.perf_counter() - begun

    def _prepare(self, batch: Batch) -> list[EncoderInputs]:
        """The inputs of a batch; images are varied anew in each pass over their rows."""
        vary = None
        if self.training.augmentation == "auto":
            sequence = np.random.SeedSequence((self.training.seed, batch.done, 0xA06))
            vary = int(sequence.generate_state(1)[0])
        return self.preparer(batch, vary)

    def _mine(self, epoch: int) -> None:
        """The hard negatives of an epoch, by the encoders as they stand, in evaluation mode."""
        self.module.eval()
        try:
            found, negatives = self.processes.on_main(lambda: self._mined(epoch))
        finally:
            self.module.train()
        for task in self.mixture.tasks:
            if task.negatives is not None and not self.processes.is_main:
                task.negatives.load_state_dict(negatives[task.entry.place])
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

    def _mined(self, epoch: int) -> tuple[dict[str, Mined], dict[str, dict[str, Any]]]:
        """By the data's place what was found, and the negatives themselves."""
        found = self.mixture.mine(epoch, self.stop)
        return found, {
            task.entry.place: task.negatives.state_dict()
            for task in self.mixture.tasks
            if task.negatives is not None
        }


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
