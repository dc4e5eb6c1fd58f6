"""Several losses of one batch, each with its weight, and each over prefixes of the embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedtune_trainer.objectives.distances import unit
from embedtune_trainer.objectives.kind import Loss
from embedtune_trainer.objectives.loss import BatchLoss


@dataclass(frozen=True)
class Term:
    """One of the losses.

    Attributes:
        weight: what it is multiplied by.
        loss: of embeddings and row numbers.
        dim: how many of the embeddings' first numbers it is given, at length 1; None: the
            embeddings as they are.
        columns: how many columns it is given at most; None: all.
    """

    weight: float
    loss: Loss
    dim: int | None = None
    columns: int | None = None


class WeightedLosses(nn.Module):
    """The weighted sum of losses of the same batch.

    With dims it is Kusupati et al. 2022, Matryoshka Representation Learning, whose embeddings can
    be cut; sentence-transformers' MatryoshkaLoss, which brings the prefixes to length 1, too. Its
    terms are the most that any of the losses has.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        super().__init__()
        self._terms = tuple(terms)
        self.losses = nn.ModuleList(t.loss for t in terms if isinstance(t.loss, nn.Module))

    def forward(self, embedded: Sequence[Tensor], batch: NDArray[np.int64]) -> BatchLoss:
        """The loss of embeddings, (B, D) a column, of these rows."""
        given: dict[int | None, list[Tensor]] = {None: list(embedded)}
        found = []
        for term in self._terms:
            if term.dim not in given:
                given[term.dim] = [unit(x_BD[:, : term.dim]) for x_BD in embedded]
            found.append(term.loss(given[term.dim][: term.columns], batch))
        weighted = [term.weight * each.loss for term, each in zip(self._terms, found, strict=True)]
        terms = torch.stack([each.terms for each in found]).amax()
        return BatchLoss(torch.stack(weighted).sum(), terms)


def combine(terms: Sequence[Term]) -> Loss:
    """One loss for all; the loss itself where there is but one, at its own weight."""
    if len(terms) == 1 and terms[0].weight == 1 and terms[0].dim is None:
        return terms[0].loss
    return WeightedLosses(terms)
