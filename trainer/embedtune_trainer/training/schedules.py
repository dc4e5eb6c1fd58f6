"""The learning rate over the steps, by the names that transformers gives the shapes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from embedtune_trainer.errors import BadSpec
from embedtune_trainer.training.options import check_options

FIELD: Final = "spec.training.schedulerOptions"


@dataclass(frozen=True)
class Shape:
    """A curve from the end of the warm-up to that of the training.

    Attributes:
        factor: from the share of that way, 0 to below 1, and the options.
        options: with their defaults.
    """

    factor: Callable[[float, Mapping[str, float]], float]
    options: Mapping[str, float]


def _linear(share: float, _: Mapping[str, float]) -> float:
    return 1 - share


def _constant(_share: float, _: Mapping[str, float]) -> float:
    return 1.0


def _cosine(share: float, options: Mapping[str, float]) -> float:
    """Loshchilov and Hutter 2017 (SGDR), without restarts; cycles 0.5 is half a wave, 1 to 0."""
    return max(0.0, 0.5 * (1 + math.cos(2 * math.pi * options["cycles"] * share)))


def _restarts(share: float, options: Mapping[str, float]) -> float:
    """Loshchilov and Hutter 2017: so many half waves, each from 1 to 0."""
    return max(0.0, 0.5 * (1 + math.cos(math.pi * (options["cycles"] * share % 1.0))))


def _polynomial(share: float, options: Mapping[str, float]) -> float:
    end = options["end"]
    return float(end + (1 - end) * (1 - share) ** options["power"])


SHAPES: Final[Mapping[str, Shape]] = {
    "linear": Shape(_linear, {}),
    "cosine": Shape(_cosine, {"cycles": 0.5}),
    "cosine_with_restarts": Shape(_restarts, {"cycles": 1.0}),
    "polynomial": Shape(_polynomial, {"power": 1.0, "end": 0.0}),
    "constant": Shape(_constant, {}),
    "constant_with_warmup": Shape(_constant, {}),
}


class Schedule:
    """What the highest learning rate is multiplied by in each update of the weights."""

    def __init__(
        self, name: str, updates: int, warmup_ratio: float, options: Mapping[str, object]
    ) -> None:
        """Over so many updates, the first warmup_ratio of them a warm-up.

        Raises:
            BadSpec: an option that this shape does not have.
        """
        self._shape = SHAPES[name]
        given = check_options(self._shape.options, options, FIELD, name)
        self._options = {key: float(value) for key, value in given.items()}
        if self._options.get("end", 0.0) > 1 or any(v < 0 for v in self._options.values()):
            raise BadSpec(f"{FIELD}: must not be below 0, and end not above 1")
        self._updates = updates
        self._warmup = round(updates * warmup_ratio)

    def factor(self, update: int) -> float:
        """Of an update (from 0).

        It rises in equal parts in the warm-up, and is above 0 from the first update on, where
        transformers' schedulers waste that one: this warm-up of w updates is theirs of w + 1 but
        for its first. After it the factors are theirs.
        """
        if update < self._warmup:
            return (update + 1) / (self._warmup + 1)
        share = (update - self._warmup) / max(1, self._updates - self._warmup)
        return self._shape.factor(share, self._options)
