"""Distances between all rows of a batch, with gradients that are finite everywhere."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor


def cosine(embeddings_BD: Tensor) -> Tensor:
    """(B, B): 1 - cos(x, y), from 0 to 2, as in sentence-transformers.

    A zero vector has the distance 1 to everything and gets no gradient.
    """
    norm_B1 = embeddings_BD.norm(dim=1, keepdim=True)
    safe_B1 = torch.where(norm_B1 > 0, norm_B1, 1.0)
    unit_BD = torch.where(norm_B1 > 0, embeddings_BD / safe_B1, 0.0)
    return 1.0 - unit_BD @ unit_BD.T


def euclidean(embeddings_BD: Tensor) -> Tensor:
    """(B, B): |x - y|, from the differences themselves, with gradient 0 where x = y."""
    return torch.cdist(embeddings_BD, embeddings_BD, compute_mode="donot_use_mm_for_euclid_dist")


DISTANCES: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "cosine": cosine,
    "euclidean": euclidean,
}
