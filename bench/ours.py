"""embedtune's side of a contest: its own training, as a run has it."""

import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from contestant import Start, Trained
from torch import nn

from embedtune_api.spec import Objective, Training
from embedtune_trainer.bfloat16 import pays_off
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.machine import keep_freed_memory, keep_kernels
from embedtune_trainer.mixture import Batch, Mixture, build_mixture
from embedtune_trainer.objectives.choice import Entry
from embedtune_trainer.progress import FanOut
from embedtune_trainer.rows.table import Rows
from embedtune_trainer.training.fit import fit
from embedtune_trainer.training.inputs import Preparer
from embedtune_trainer.training.step import Stepper


class Ours:
    """A System: encoders that are trained on one set of rows."""

    def __init__(
        self, encoders: Encoders, rows: Rows, objective: Objective, training: Training
    ) -> None:
        keep_freed_memory()
        keep_kernels(side.processor.modality for side in (encoders.left, encoders.right))
        self._encoders = encoders
        self._rows = rows
        self._objective = objective
        self._training = training

    @cached_property
    def _mixture(self) -> Mixture:
        """Made with the first batch, and in its time: a text is made into tokens here."""
        entries = (Entry(self._rows),)
        return build_mixture(self._encoders, entries, self._objective, self._training)

    def first(self) -> Start:
        """Of the first rows, as a step has it that leaves its gradient for the next one."""
        training = self._training.model_copy(update={"accumulate": 2, "precision": "float32"})
        without_dropout(self._encoders.module).train()
        task = self._mixture.tasks[0]
        batch = Batch(task, np.arange(training.rows_in_batch), 0)
        stepper = Stepper(self._encoders.module, training, 2)
        outcome = stepper.take(0, batch, Preparer(task.columns)(batch))
        return Start(float(outcome.loss), 2 * gradient_norm(stepper.trained))

    def train(self, steps: int) -> Trained:
        """By `fit`; the rows must be so many that an epoch has these steps."""
        begun = time.perf_counter()
        mixture = self._mixture
        made_s = time.perf_counter() - begun
        if len(mixture) != steps:
            raise AssertionError(f"{len(mixture)} steps in an epoch, not {steps}")
        report = fit(self._encoders, mixture, self._training, FanOut(()))
        return Trained(report.rows, made_s + report.data_wait_ratio * report.seconds)


def in_bfloat16(device: str) -> bool:
    """Whether the machine calculates in bfloat16 by itself, so that a peer's users would, too."""
    return pays_off(nn.Identity(), torch.device(device))


def without_dropout(module: nn.Module) -> nn.Module:
    """The same module, whose dropouts drop nothing even in training."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def gradient_norm(parameters: Sequence[nn.Parameter]) -> float:
    """The Euclidean length of all gradients together."""
    squares = [p.grad.double().square().sum() for p in parameters if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt())
