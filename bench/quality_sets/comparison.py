"""What is compared on one data set: two systems that begin alike, and how both are judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from embedtune_api.spec import FineTuneJobSpec, Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.jobfile import read_job
from embedtune_trainer.mixture import build_mixture
from embedtune_trainer.objectives.choice import Entry
from embedtune_trainer.progress import FanOut
from embedtune_trainer.rows.table import Items, Rows
from embedtune_trainer.training.fit import fit

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Embedded = tuple[Tensor, Tensor | None]
"""(Q, D) of the held-out queries and (N, D) of what is searched; None: the other queries."""


class Side(Protocol):
    """A model of one system, pre-trained."""

    def train(self) -> int:
        """As the system's users do; how many steps."""

    def embed(self) -> Embedded:
        """The held-out items, in evaluation mode."""


@dataclass(frozen=True)
class Comparison:
    """One data set.

    Attributes:
        title: what is trained on what, and how.
        peer: the name of the other system.
        sides: embedtune's and the peer's, by a seed.
        judge: of embeddings, to metrics by name, in each of which more is better.
        tolerance: the most that both may be apart by before training, see `apart`.
        apart: of two systems' embeddings of length 1.
    """

    title: str
    peer: str
    sides: tuple[Callable[[int], Side], Callable[[int], Side]]
    judge: Callable[[Tensor, Tensor | None], dict[str, float]]
    tolerance: float
    apart: Callable[[Tensor, Tensor], float]

    def before(self, seed: int) -> dict[str, float]:
        """The metrics of the common start.

        Raises:
            AssertionError: the systems do not begin alike.
        """
        ours, theirs = (make(seed).embed() for make in self.sides)
        for own, other in zip(ours, theirs, strict=True):
            if own is None or other is None:
                continue
            found = self.apart(normalize(own, dim=-1), normalize(other, dim=-1))
            if not found <= self.tolerance:
                raise AssertionError(
                    f"before training, embeddings of {self.peer} are {found:g} from embedtune's"
                )
        return self.judge(*ours)


def greatest_difference(a_ND: Tensor, b_ND: Tensor) -> float:
    """Of any two numbers."""
    return float((a_ND - b_ND).abs().max())


def greatest_angle(a_ND: Tensor, b_ND: Tensor) -> float:
    """One minus the least cosine of a row with its other."""
    return float((1 - torch.cosine_similarity(a_ND, b_ND)).max())


class Ours:
    """A Side: embedtune's own training."""

    def __init__(
        self,
        encoders: Encoders,
        rows: Rows,
        objective: Objective,
        training: Training,
        held_out: tuple[Items, Items | None],
    ) -> None:
        self._encoders, self._training, self._held_out = encoders, training, held_out
        self._mixture = build_mixture(encoders, (Entry(rows),), objective, training)

    @property
    def steps(self) -> int:
        """That its training takes."""
        return len(self._mixture) * self._training.epochs

    def train(self) -> int:
        """By `fit`."""
        return fit(self._encoders, self._mixture, self._training, FanOut(())).steps

    def embed(self) -> Embedded:
        """See Side."""
        queries, index = self._held_out
        queries_QD = self._encoders.left.encode(queries)
        return queries_QD, None if index is None else self._encoders.right.encode(index)


def example(name: str) -> FineTuneJobSpec:
    """What examples/NAME.yaml asks for."""
    return read_job(EXAMPLES / f"{name}.yaml").spec


def with_seed(training: Training, seed: int) -> Training:
    """The same training with another order and other draws."""
    return training.model_copy(update={"seed": seed})


def distinct(items: Items) -> tuple[Items, Tensor]:
    """The different ones, and for each item which of them it is, (N,)."""
    number: dict[object, int] = {}
    first: list[int] = []
    own: list[int] = []
    for row, value in enumerate(items.values):
        if value not in number:
            number[value] = len(number)
            first.append(row)
        own.append(number[value])
    return items.take(first), torch.tensor(own)


def numbered(*columns: Sequence[str]) -> list[Tensor]:
    """Each column's labels as numbers, the same for the same label."""
    number = {label: i for i, label in enumerate(sorted({x for own in columns for x in own}))}
    return [torch.tensor([number[label] for label in own]) for own in columns]
