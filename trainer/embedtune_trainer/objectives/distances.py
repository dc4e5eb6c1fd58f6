"""Distances of some rows to all of a batch, with gradients that are finite everywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor


def unit(embeddings_BD: Tensor) -> Tensor:
    """(B, D) of length 1; a zero vector stays one and gets no gradient."""
    norm_B1 = embeddings_BD.norm(dim=1, keepdim=True)
    safe_B1 = torch.where(norm_B1 > 0, norm_B1, 1.0)
    return torch.where(norm_B1 > 0, embeddings_BD / safe_B1, 0.0)


def cosine(unit_AD: Tensor, unit_BD: Tensor) -> Tensor:
    """(A, B): 1 - cos(x, y) of what `unit` gives, from 0 to 2, as in sentence-transformers.

    A zero vector has the distance 1 to everything.
    """
    return 1.0 - unit_AD @ unit_BD.T


def euclidean(left_AD: Tensor, right_BD: Tensor) -> Tensor:
    """(A, B): |x - y|, from the differences themselves, with gradient 0 where x = y."""
    return torch.cdist(left_AD, right_BD, compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True)
class Distance:
    """How far embeddings are from each other.

    Attributes:
        prepare: (B, D) as they are to what is compared.
        between: (A, D) and (B, D) of these to (A, B).
    """

    prepare: Callable[[Tensor], Tensor]
    between: Callable[[Tensor, Tensor], Tensor]


DISTANCES: Final = {
    "cosine": Distance(unit, cosine),
    "euclidean": Distance(lambda x: x, euclidean),
}
