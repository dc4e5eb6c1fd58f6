"""Which weights of a training are kept, and whether it is over before its last step.

Every metric is better when it is more, the training loss when it is less. An equal value is no
better: of the weights that are equally good the first are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from embedtune_api.selection import Gate
from embedtune_api.spec import Model, Training
from embedtune_trainer.checkpoints.state import put, weights
from embedtune_trainer.errors import BadSpec

LOSS: Final = "loss"
AUTO: Final = "auto"
ROUNDING: Final = 1e-9
"""Metrics are decimals to people: .6 is .1 more than .5."""


@dataclass(frozen=True)
class Monitors:
    """What is judged by which metric.

    Attributes:
        keep_best: which weights are kept; None: the last ones.
        stop_early: whether it is over; None: it never is.
    """

    keep_best: str | None
    stop_early: str | None


def monitors(training: Training, measured: Sequence[str], headline: str) -> Monitors:
    """The monitors that a job names.

    Args:
        training: spec.training.
        measured: names of what is measured on the evaluation data.
        headline: what auto means.

    Raises:
        BadSpec: one is not measured on this data.
    """
    keep_best, stop_early = training.keep_best, training.stop_early
    return Monitors(
        _named(keep_best.monitor, measured, headline, "keepBest") if keep_best else None,
        _named(stop_early.monitor, measured, headline, "stopEarly") if stop_early else None,
    )


def _named(monitor: str, measured: Sequence[str], headline: str, field: str) -> str:
    if monitor == AUTO:
        return headline
    if monitor != LOSS and monitor not in measured:
        raise BadSpec(
            f"spec.training.{field}.monitor: {monitor} is not measured on this data; use {LOSS},"
            f" or one of {', '.join(measured)}"
        )
    return monitor


class Selection:
    """Judges a training by its measurements.

    Attributes:
        over: whether to stop.
        kept_step: the step whose weights are kept; None: the last one's.
    """

    def __init__(self, training: Training, chosen: Monitors, module: nn.Module) -> None:
        self._training = training
        self._chosen = chosen
        self._module = module
        self._weights: dict[str, Tensor] | None = None
        self._best_kept: float | None = None
        self._best_seen: float | None = None
        self._waited = 0
        self.over = False
        self.kept_step: int | None = None

    def take(self, step: int, metrics: Mapping[str, float], loss: float) -> None:
        """The module as it stands was measured.

        Args:
            step: how many are done.
            metrics: by name.
            loss: the mean since the measurement before.
        """
        values = {**metrics, LOSS: loss}
        if (name := self._chosen.keep_best) is not None:
            goodness = _goodness(name, values)
            if self._best_kept is None or goodness > self._best_kept:
                self._best_kept = goodness
                self.kept_step = step
                self._weights = {n: x.detach().cpu().clone() for n, x in self._present().items()}
        if (name := self._chosen.stop_early) is not None and self._training.stop_early is not None:
            goodness = _goodness(name, values)
            least = self._training.stop_early.min_delta
            if self._best_seen is None or goodness > self._best_seen + least:
                self._best_seen, self._waited = goodness, 0
            else:
                self._waited += 1
            self.over = self._waited >= self._training.stop_early.patience

    def finish(self) -> None:
        """Put the weights that are kept into the module."""
        if self._weights is not None:
            put(self._weights, self._module)

    def _present(self) -> dict[str, Tensor]:
        return weights(self._module)

    def state_dict(self) -> dict[str, Any]:
        """All of it, as a nested dictionary of tensors and JSON's scalars."""
        return {
            "best_kept": self._best_kept,
            "best_seen": self._best_seen,
            "waited": self._waited,
            "over": self.over,
            "kept_step": self.kept_step,
            "weights": self._weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._best_kept = state["best_kept"]
        self._best_seen = state["best_seen"]
        self._waited = state["waited"]
        self.over = state["over"]
        self.kept_step = state["kept_step"]
        saved = state["weights"]
        self._weights = None if saved is None else {n: x.cpu().clone() for n, x in saved.items()}


def _goodness(name: str, values: Mapping[str, float]) -> float:
    return -values[name] if name == LOSS else values[name]


@torch.no_grad()
def interpolate(before: Mapping[str, Tensor], module: nn.Module, alpha: float) -> None:
    """Put (1 - alpha) before + alpha now into the trained weights and running statistics.

    Wortsman et al. 2022, Robust fine-tuning of zero-shot models, equation 1. What is counted, such
    as batches seen, stays.

    Args:
        before: what `checkpoints.state.weights` gave before the training, copied.
        module: the tuned model.
        alpha: 0 to 1.
    """
    for name, tensor in weights(module).items():
        if tensor.is_floating_point():
            tensor.copy_(before[name].to(tensor.device).lerp(tensor, alpha))


def check_wise_ft(model: Model) -> None:
    """Refuse to mix weights that the backbone has not.

    Raises:
        BadSpec: the model has new layers, or adapters.
    """
    towers = {"": model, ".text": model.text, ".image": model.image}
    for name, tower in towers.items():
        for field in ("projection", "lora"):
            if tower is not None and getattr(tower, field, None) is not None:
                raise BadSpec(
                    "spec.training.wiseFT: mixes the backbone's weights with the tuned ones, and"
                    f" it has none for spec.model{name}.{field}; leave one of the two out"
                )


def refusal(
    gate: Gate, headline: str, before: Mapping[str, float], after: Mapping[str, float]
) -> str | None:
    """Why a model does not pass the gate, in a sentence; None if it does."""
    name = headline if gate.metric == AUTO else gate.metric
    rise = after[name] - before[name]
    if rise > 0 and rise >= gate.min_improvement - ROUNDING:
        return None
    asked = f"a rise of at least {gate.min_improvement:g}" if gate.min_improvement else "a rise"
    return (
        f"{name} went from {before[name]:.4f} to {after[name]:.4f}, and"
        f" spec.data.evaluation.gate asks for {asked}"
    )


def check_gate(gate: Gate, measured: Sequence[str]) -> None:
    """Refuse a gate that nothing is measured for.

    Raises:
        BadSpec: its metric is not measured.
    """
    if gate.metric != AUTO and gate.metric not in measured:
        raise BadSpec(
            f"spec.data.evaluation.gate.metric: {gate.metric} is not measured on this data;"
            f" measured are {', '.join(measured)}"
        )
