"""Steppers over a tiny model, for tests of the step."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from embedtune_api.spec import Encoder, Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.mixture import Batch, build_mixture
from embedtune_trainer.objectives.choice import Entry
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.rows.table import LabelledRows, PairRows, Texts
from embedtune_trainer.training.distributed import ALONE
from embedtune_trainer.training.inputs import Preparer
from embedtune_trainer.training.step import Stepper
from tests.trainer import tiny

__all__ = ["BatchLoss", "PairRows", "Texts"]
WORDS = "cat dog red paris axe the old nice"


def load(folder, *, dropout=True, **model):
    encoder = Encoder.parse({"backbone": "s3://bases/tiny", **model})
    embedder = load_encoder(Fetched("s3://bases/tiny", folder), encoder, 0)
    if not dropout:
        without_dropout(embedder)
    return embedder


def without_dropout(module):
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0


def texts(count, repeats=1):
    """Texts of many lengths, each `repeats` times."""
    words = WORDS.split()
    made = [" ".join((words * 6)[i % 5 : i % 5 + 1 + (7 * i) % 40]) for i in range(count)]
    return [text for text in made for _ in range(repeats)]


def labelled(count=24, repeats=1):
    found = texts(count, repeats)
    return LabelledRows(Texts(found), [str(i % 4) for i in range(len(found))], "t.csv")


def pairs(count=24):
    left, right = tiny.rows(count), texts(count // 2, repeats=2)
    return PairRows(Texts([text for text, _ in left]), Texts(right), "p.csv")


@dataclass
class Bench:
    """A module, and what takes its steps over one task."""

    encoders: Encoders
    training: Training
    mixture: object
    preparer: Preparer
    stepper: Stepper

    @property
    def task(self):
        return self.mixture.tasks[0]

    def batch(self, rows):
        return Batch(self.task, np.asarray(rows), 0)

    def take(self, step, rows):
        batch = self.batch(rows)
        return self.stepper.take(step, batch, self.preparer(batch))

    def weights(self):
        return {n: t.detach().clone() for n, t in self.encoders.module.state_dict().items()}


def bench(encoders, rows, *, objective=None, steps=10, world=ALONE, micro_batch=None, **training):
    """Everything in training mode; in float32, in which what is exact can be seen to be."""
    if not isinstance(encoders, Encoders):
        encoders = Encoders.single(encoders)
    exact = {"learningRate": 1e-3, "batchSize": 24, "precision": "float32"}
    options = Training.parse(exact | training)
    chosen = Objective.parse(objective or {})
    mixture = build_mixture(encoders, (Entry(rows),), chosen, options)
    preparer = Preparer(mixture.tasks[0].columns, micro_batch, world)
    encoders.module.train()
    stepper = Stepper(encoders.module, options, steps, world=world)
    return Bench(encoders, options, mixture, preparer, stepper)


def gradients(made, rows, inputs=None, step=0):
    """The loss of a batch and its gradient, which stays out of the optimizer."""
    batch = made.batch(rows)
    inputs = made.preparer(batch) if inputs is None else inputs
    outcome = made.stepper._backpropagate(step, batch, inputs, 1)
    module = made.encoders.module
    found = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return float(outcome.loss), found


def difference(one, other):
    """The length of the difference of two gradients, relative to theirs."""
    assert one.keys() == other.keys()
    length = sum(float(value.double().square().sum()) for value in one.values()) ** 0.5
    apart = sum(float((one[n] - other[n]).double().square().sum()) for n in one) ** 0.5
    return apart / length


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)
