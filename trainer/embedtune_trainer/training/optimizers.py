"""torch's optimizers by their names, with options in the spec's spelling."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import optim
from torch.optim import Optimizer

from embedtune_trainer.errors import BadSpec
from embedtune_trainer.training.options import check_options

FIELD: Final = "spec.training.optimizer"
REFUSED: Final = {
    "LBFGS": "takes its steps along a line search that needs one and the same loss over and over,"
    " and each batch has a loss of its own",
    "SparseAdam": "takes sparse gradients only, and those of an embedding model are dense",
}
ADAM_LIKE: Final = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop")
"""Those whose steps have about the learning rate's size, whatever the gradient's."""
FUSED: Final = ("Adam", "AdamW", "SGD")
_OURS: Final = ("params", "lr", "foreach", "maximize", "capturable", "differentiable", "fused")
_PAIRS: Final = {
    "betas": ("beta1", "beta2"),
    "etas": ("etaMinus", "etaPlus"),
    "step_sizes": ("stepMin", "stepMax"),
}
"""Options that are pairs, and what the spec calls their halves."""


@dataclass(frozen=True)
class Kind:
    """An optimizer of torch.

    Attributes:
        make: it, by its parameter groups.
        defaults: its options, as the spec spells them.
        names: torch's name for each, or its pair and the place in it.
    """

    make: Callable[..., Optimizer]
    defaults: dict[str, float] = field(default_factory=dict)
    names: dict[str, tuple[str, int | None]] = field(default_factory=dict)


def _kind(name: str) -> Kind:
    make: type[Optimizer] = getattr(optim, name)
    kind = Kind(make)
    for option, parameter in inspect.signature(make).parameters.items():
        if option in _OURS:
            continue
        if option in _PAIRS:
            for place, half in enumerate(_PAIRS[option]):
                kind.defaults[half] = parameter.default[place]
                kind.names[half] = (option, place)
            continue
        first, *rest = option.split("_")
        spelt = first + "".join(word.capitalize() for word in rest)
        kind.defaults[spelt] = parameter.default
        kind.names[spelt] = (option, None)
    return kind


NAMES: Final = (
    *("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop"),
    *("Rprop", "SGD"),
)
"""Those that can train an embedding model; Finetuner's two others are REFUSED."""
KINDS: Final = {name: _kind(name) for name in NAMES}


def has_weight_decay(name: str) -> bool:
    """Whether the optimizer of this name decays weights."""
    return "weightDecay" in KINDS[check_name(name)].defaults


def check_name(name: str, spec_field: str = FIELD) -> str:
    """The name.

    Raises:
        BadSpec: there is no such optimizer, or it cannot train an embedding model.
    """
    if name in KINDS:
        return name
    why = f"{name} {REFUSED[name]}" if name in REFUSED else f"there is no {name}"
    raise BadSpec(f"{spec_field}: {why}; use one of {', '.join(NAMES)}")


def make_optimizer(
    name: str,
    groups: Sequence[dict[str, Any]],
    learning_rate: float,
    options: Mapping[str, object],
    spec_field: str = FIELD,
) -> Optimizer:
    """An optimizer of torch over these parameter groups.

    Args:
        name: of NAMES.
        groups: as torch takes them, each with params; what else a group has goes before options.
        learning_rate: of all groups.
        options: as the spec spells them, see KINDS.
        spec_field: that the name stands in, for messages; the options' is that and Options.

    Raises:
        BadSpec: the name or an option is wrong.
    """
    kind = KINDS[check_name(name, spec_field)]
    given = check_options(kind.defaults, options, f"{spec_field}Options", name)
    arguments: dict[str, Any] = {}
    for spelt, value in given.items():
        option, place = kind.names[spelt]
        if place is None:
            arguments[option] = value
        else:
            arguments.setdefault(option, [0.0, 0.0])[place] = value
    pairs = {option: tuple(value) for option, value in arguments.items() if option in _PAIRS}
    make = partial(kind.make, list(groups), lr=learning_rate, **{**arguments, **pairs})
    try:
        return make(fused=True) if name in FUSED and _can_be_fused(groups) else make()
    except ValueError as error:
        raise BadSpec(f"{spec_field}Options: {name} refuses them: {error}") from None


def _can_be_fused(groups: Sequence[dict[str, Any]]) -> bool:
    parameters = [p for group in groups for p in group["params"]]
    return all(p.device.type in ("cpu", "cuda") and p.dtype == torch.float32 for p in parameters)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """For the next update; a group with a `factor` has that many times it."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("factor", 1.0)


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """What it remembers of each parameter, by its number: tensors and numbers."""
    return {str(number): dict(kept) for number, kept in optimizer.state_dict()["state"].items()}


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Go on from there; the groups stay as they are built.

    What is of a parameter's shape is laid out in memory as the parameter is, as fused steps ask.
    """
    groups = optimizer.state_dict()["param_groups"]
    numbered = {int(number): dict(kept) for number, kept in state.items()}
    optimizer.load_state_dict({"state": numbered, "param_groups": groups})
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.ndim:
                kept[name] = torch.empty_like(parameter).copy_(value)
