"""What there is to save of a training: all that its next step depends on but what never changes.

Frozen weights come from the backbone again, batches and whatever is drawn at random follow from
the seed and the step's number. What is left: the trained weights and all buffers, of the losses
too; what the stepper, the watch and the selection carry from step to step; mined negatives.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from embedtune_trainer.tasks import Task


class Stateful(Protocol):
    """What carries something from step to step."""

    def state_dict(self) -> dict[str, Any]:
        """It, as a nested dictionary of tensors and JSON's scalars."""

    def load_state_dict(self, state: Any, /) -> object:  # noqa: ANN401  each has a type of its own
        """Go on from there."""


def capture(
    module: nn.Module, tasks: Iterable[Task], others: Mapping[str, Stateful]
) -> dict[str, Any]:
    """The state as it stands; its tensors are the training's own.

    Args:
        module: what is trained.
        tasks: of the mixture.
        others: what carries something from step to step, by name.
    """
    tasks = tuple(tasks)
    return {
        "module": weights(module),
        "losses": {task.entry.place: weights(loss) for task, loss in _losses(tasks)},
        "negatives": {
            task.entry.place: task.negatives.state_dict()
            for task in tasks
            if task.negatives is not None
        },
        **{name: other.state_dict() for name, other in others.items()},
    }


def restore(
    state: Mapping[str, Any],
    module: nn.Module,
    tasks: Iterable[Task],
    others: Mapping[str, Stateful],
) -> None:
    """Bring everything to where it stood; see capture.

    Raises:
        KeyError: the state is of something else, which its identity would have told.
    """
    tasks = tuple(tasks)
    put(state["module"], module)
    for task, loss in _losses(tasks):
        put(state["losses"][task.entry.place], loss)
    for task in tasks:
        if task.negatives is not None:
            task.negatives.load_state_dict(state["negatives"][task.entry.place])
    for name, other in others.items():
        other.load_state_dict(state[name])


def weights(module: nn.Module) -> dict[str, Tensor]:
    """What can change in training: trained parameters, and all buffers."""
    trained = ((name, p) for name, p in module.named_parameters() if p.requires_grad)
    return {**dict(trained), **dict(module.named_buffers())}


def put(saved: Mapping[str, Tensor], module: nn.Module) -> None:
    """Copy what `weights` gave back into a module.

    Raises:
        KeyError: not the same names.
    """
    there = weights(module)
    if there.keys() != saved.keys():
        raise KeyError(f"not the same weights: {sorted(there.keys() ^ saved.keys())[:5]}")
    with torch.no_grad():
        for name, tensor in there.items():
            tensor.copy_(saved[name])


def trained_shapes(module: nn.Module, tasks: Iterable[Task]) -> dict[str, tuple[int, ...]]:
    """Shapes of all that is saved of the module and of the losses, by name."""
    found = {name: tuple(x.shape) for name, x in weights(module).items()}
    for task, loss in _losses(tasks):
        place = task.entry.place
        found |= {f"{place}: {name}": tuple(x.shape) for name, x in weights(loss).items()}
    return found


def _losses(tasks: Iterable[Task]) -> Iterator[tuple[Task, nn.Module]]:
    """The losses that have weights of their own, each with its task."""
    for task in tasks:
        if task.loss_module is not None:
            yield task, task.loss_module
