"""One optimizer step: from a batch's inputs to changed weights."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from embedtune_api import spec
from embedtune_trainer.encoding import Part, encode_parts
from embedtune_trainer.mixture import Batch
from embedtune_trainer.training.optimizers import (
    MAX_GRADIENT_NORM,
    build_optimizer,
    learning_rate_factor,
    set_learning_rate,
)


@dataclass(frozen=True)
class Outcome:
    """What a step gave, on the device, so that nothing has to wait for it.

    Attributes:
        loss: scalar, the batch's loss before the step.
        terms: scalar, how many triplets or rows it is the average of.
        finite: scalar bool, whether the loss and all embeddings are numbers: no miner picks a
            triplet of NaN, so that the loss alone would be 0.
        embedded: (B, D) of each column, without a gradient.
    """

    loss: Tensor
    terms: Tensor
    finite: Tensor
    embedded: tuple[Tensor, ...]


class Stepper:
    """Takes the steps of a training.

    Attributes:
        trained: the parameters that are trained.
    """

    def __init__(self, module: nn.Module, training: spec.Training, steps: int) -> None:
        """`steps` is how many the whole training has."""
        self.trained = [p for p in module.parameters() if p.requires_grad]
        self._training = training
        self._steps = steps
        self._optimizer = build_optimizer(module, training.learning_rate, training.weight_decay)

    def take(self, step: int, batch: Batch, columns: list[list[Part]]) -> Outcome:
        """The step of this number (from 0). What is drawn at random depends on it alone."""
        training = self._training
        seed_everything(training.seed, step)
        factor = learning_rate_factor(step, self._steps, training.warmup_ratio, training.scheduler)
        set_learning_rate(self._optimizer, training.learning_rate * factor)
        embedded = [
            encode_parts(column.embedder, parts)
            for column, parts in zip(batch.task.columns, columns, strict=True)
        ]
        loss = batch.task.loss(embedded, batch.rows)
        loss.loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained, MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        found = tuple(embeddings.detach() for embeddings in embedded)
        finite = loss.loss.detach().isfinite()
        for embeddings in found:
            finite = finite & embeddings.isfinite().all()
        return Outcome(loss.loss.detach(), loss.terms, finite, found)

    def state_dict(self) -> dict[str, object]:
        """All that the next step depends on but the weights."""
        return {"optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from there."""
        self._optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]


def seed_everything(seed: int, step: int) -> None:
    """Seed dropout and whatever else draws from the global generators, for one step.

    So no generator's state is part of a checkpoint.
    """
    state = int(np.random.SeedSequence((seed, step, 0xD20)).generate_state(1)[0])
    torch.manual_seed(state)
    np.random.seed(state)
    random.seed(state)
