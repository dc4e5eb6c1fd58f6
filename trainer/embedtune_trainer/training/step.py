"""One step: from a batch's inputs to changed weights."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from embedtune_api import spec
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.mixture import Batch
from embedtune_trainer.training.cached import Encoded, seed_everything
from embedtune_trainer.training.defaults import learning_rate_of, weight_decay_of
from embedtune_trainer.training.distributed import ALONE, World
from embedtune_trainer.training.ema import WeightAverage
from embedtune_trainer.training.inputs import EncoderInputs
from embedtune_trainer.training.optimizers import (
    load_optimizer_state,
    make_optimizer,
    optimizer_state,
    set_learning_rate,
)
from embedtune_trainer.training.precision import (
    autocast_for,
    finish_training,
    prepare_to_train,
)
from embedtune_trainer.training.rates import loss_side, named_trained, parameter_groups
from embedtune_trainer.training.schedules import Schedule


@dataclass(frozen=True)
class Outcome:
    """What a step gave, on the device, so that nothing has to wait for it.

    Attributes:
        loss: scalar, the batch's loss before the step.
        terms: scalar, how many triplets or rows it is the average of.
        finite: scalar bool, whether the loss and all embeddings are numbers: no miner picks a
            triplet of NaN, so that the loss alone would be 0.
        embedded: (U, D) of the different items that each encoder was given, without a gradient;
            of several processes the rows of all of them, column by column.
    """

    loss: Tensor
    terms: Tensor
    finite: Tensor
    embedded: tuple[Tensor, ...]


@dataclass(frozen=True)
class LossOptimizer:
    """The optimizer of the weights that losses have of their own.

    Attributes:
        name: of torch's optimizer.
        learning_rate: its highest; it follows the training's schedule.
        options: as the spec spells them.
    """

    name: str
    learning_rate: float
    options: Mapping[str, object] = field(default_factory=dict)


class Stepper:
    """Takes the steps of a training.

    Attributes:
        trained: the module's parameters that are trained.
        learning_rate: the highest.
    """

    def __init__(
        self,
        module: nn.Module,
        training: spec.Training,
        steps: int,
        *,
        losses: Sequence[nn.Module] = (),
        loss_optimizer: LossOptimizer | None = None,
        world: World = ALONE,
    ) -> None:
        """Of a training of so many steps.

        Args:
            module: what is trained.
            training: how.
            steps: batches of the whole training.
            losses: those of the tasks' losses that have weights of their own.
            loss_optimizer: theirs; None: they are in the module's.
            world: the processes that take each step together.

        Raises:
            BadSpec: an option is wrong, or a rate's modules are not there.
        """
        self._module = module
        self._training = training
        self._steps = steps
        self._world = world
        self._named = named_trained(module)
        self.trained = list(self._named.values())
        self._losses = [p for loss in losses for p in loss.parameters() if p.requires_grad]
        self.learning_rate = learning_rate_of(training, module)
        self._autocast = autocast_for(training.precision, self.trained[0].device)
        self._embedders = [m for m in module.modules() if isinstance(m, Embedder)]
        prepare_to_train(self._embedders, compiled=training.compile)
        updates = -(-steps // training.accumulate)
        self._schedule = Schedule(
            training.scheduler, updates, training.warmup_ratio, training.scheduler_options
        )
        self._loss_rate = loss_optimizer.learning_rate if loss_optimizer else self.learning_rate
        self._rate_now = 0.0
        self._gradient_norm: Tensor | None = None
        self._optimizers = self._make_optimizers(loss_optimizer)
        not_encoders = loss_side(module, self.trained)
        self._of_encoders = [p for p in self.trained if id(p) not in not_encoders]
        self._of_losses = [p for p in self.trained if id(p) in not_encoders] + self._losses
        self._average = (
            WeightAverage(self._named, training.ema.decay) if training.ema is not None else None
        )

    def _make_optimizers(self, own: LossOptimizer | None) -> dict[str, torch.optim.Optimizer]:
        training = self._training
        if "weightDecay" in training.optimizer_options:
            raise BadSpec("spec.training.optimizerOptions: set spec.training.weightDecay instead")
        groups = parameter_groups(self._module, training, weight_decay_of(training))
        of_losses = [{"params": self._losses}] if self._losses else []
        made = {}
        if own is not None and of_losses:
            made["loss_optimizer"] = make_optimizer(
                own.name, of_losses, own.learning_rate, own.options, "spec.objective.lossOptimizer"
            )
            of_losses = []
        made["optimizer"] = make_optimizer(
            training.optimizer,
            [*groups, *of_losses],
            self.learning_rate,
            training.optimizer_options,
        )
        return made

    def take(self, step: int, batch: Batch, inputs: Sequence[EncoderInputs]) -> Outcome:
        """The step of this number (from 0). What is drawn at random depends on it alone.

        The weights change when `accumulate` steps are taken, and after the last one.
        """
        accumulate = self._training.accumulate
        update, position = divmod(step, accumulate)
        together = min(accumulate, self._steps - update * accumulate)
        outcome = self._backpropagate(step, batch, inputs, together)
        if position + 1 == together:
            self._update(update)
        return outcome

    def _backpropagate(
        self, step: int, batch: Batch, inputs: Sequence[EncoderInputs], together: int
    ) -> Outcome:
        """Add the gradient of the batch's loss, divided by how many are taken together."""
        seed, world = self._training.seed, self._world
        encoded = [
            Encoded(given, (seed, step, world.rank, number), self._autocast)
            for number, given in enumerate(inputs)
        ]
        own = _by_column(encoded)
        seen = own
        if world.size > 1:
            seen = [world.gather(x, len(batch.rows)).requires_grad_(x.requires_grad) for x in own]
        seed_everything(seed, step)
        found = batch.task.loss(seen, batch.rows)
        (found.loss / together).backward()  # type: ignore[no-untyped-call]
        if world.size > 1:
            _send_back(own, seen, world.place(len(batch.rows)))
        for one in encoded:
            one.backward()
        finite = found.loss.detach().isfinite()
        for x in seen:
            finite = finite & x.detach().isfinite().all()
        embedded = [one.detached() for one in encoded]
        if world.size > 1:
            embedded = [torch.cat([seen[n].detach() for n in one.columns]) for one in encoded]
        return Outcome(found.loss.detach(), found.terms, finite, tuple(embedded))

    def _update(self, update: int) -> None:
        """Change the weights by the gradient that has been added up."""
        if self._world.size > 1:
            self._world.sum_gradients(self._of_encoders)
            self._world.average_gradients(self._of_losses)
            self._world.average(_running_statistics(self._module))
        if self._training.max_gradient_norm:
            groups = self._optimizers["optimizer"].param_groups
            clipped = [parameter for group in groups for parameter in group["params"]]
            self._gradient_norm = nn.utils.clip_grad_norm_(
                clipped, self._training.max_gradient_norm
            )
        factor = self._schedule.factor(update)
        self._rate_now = self.learning_rate * factor
        rates = {"optimizer": self.learning_rate, "loss_optimizer": self._loss_rate}
        for name, optimizer in self._optimizers.items():
            set_learning_rate(optimizer, rates[name] * factor)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update()

    def facts(self) -> dict[str, float]:
        """Of the last update, as a reporter takes them; waits for the device."""
        norm = {} if self._gradient_norm is None else {"gradient_norm": float(self._gradient_norm)}
        return {"learning_rate": self._rate_now} | norm

    def averaged(self) -> AbstractContextManager[None]:
        """The module with the averaged weights within, if the training has an average."""
        return nullcontext() if self._average is None else self._average.swapped()

    def finish(self) -> None:
        """No step comes after this; the averaged weights are the module's, if there are any."""
        if self._average is not None:
            self._average.swap()
            self._average = None
        finish_training(self._embedders)

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on but the weights: dicts of tensors and numbers.

        The tensors are those in use, to be copied before the next step.
        """
        state: dict[str, Any] = {
            name: optimizer_state(optimizer) for name, optimizer in self._optimizers.items()
        }
        parameters = [*self.trained, *self._losses]
        state["gradients"] = {
            str(number): parameter.grad
            for number, parameter in enumerate(parameters)
            if parameter.grad is not None
        }
        if self._average is not None:
            state["ema"] = self._average.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        for name, optimizer in self._optimizers.items():
            load_optimizer_state(optimizer, state[name])
        for number, parameter in enumerate([*self.trained, *self._losses]):
            gradient = state["gradients"].get(str(number))
            parameter.grad = (
                None if gradient is None else torch.empty_like(parameter).copy_(gradient)
            )
        if self._average is not None:
            self._average.load_state_dict(state["ema"])


def _by_column(encoded: Sequence[Encoded]) -> list[Tensor]:
    """(B, D) of each column, in the batch's order of columns."""
    found: dict[int, Tensor] = {}
    for one in encoded:
        found |= zip(one.columns, one.embeddings(), strict=True)
    return [found[number] for number in sorted(found)]


def _send_back(own: Sequence[Tensor], seen: Sequence[Tensor], place: slice) -> None:
    """The gradient of this process's rows, out of that of the whole batch."""
    pairs = [
        (x, whole.grad[place]) for x, whole in zip(own, seen, strict=True) if whole.grad is not None
    ]
    if pairs:
        torch.autograd.backward([x for x, _ in pairs], [gradient for _, gradient in pairs])


def _running_statistics(module: nn.Module) -> list[Tensor]:
    """Means and variances that batch normalisation is about to remember."""
    return [
        buffer
        for norm in module.modules()
        if isinstance(norm, _BatchNorm) and norm.training
        for buffer in (norm.running_mean, norm.running_var)
        if buffer is not None
    ]
