"""An exponential moving average of the weights (Polyak and Juditsky 1992; Izmailov et al. 2018)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of what is trained, beside it.

    In its first updates it follows faster, with the decay min(decay, (1 + n) / (10 + n)), so that
    a short training does not end near where it began. Running statistics are not averaged: they
    are averages themselves.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = dict(parameters)
        self._decay = decay
        self._updates = 0
        self._average = {n: p.detach().clone() for n, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """The weights have changed."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        average = list(self._average.values())
        weights: list[Tensor] = list(self._parameters.values())
        torch._foreach_lerp_(average, weights, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Put the average into the model and keep the weights in its place; again undoes it."""
        for name, parameter in self._parameters.items():
            kept = parameter.detach().clone()
            parameter.copy_(self._average[name])
            self._average[name].copy_(kept)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The model with the averaged weights, within."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state_dict(self) -> dict[str, object]:
        """The average, and how many updates it had."""
        return {"updates": self._updates, "weights": dict(self._average)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from there."""
        updates, weights = state["updates"], state["weights"]
        if not isinstance(updates, int) or not isinstance(weights, Mapping):
            raise TypeError("not the state of a weight average")
        self._updates = updates
        for name, average in self._average.items():
            saved: Tensor = weights[name]
            average.copy_(saved)
