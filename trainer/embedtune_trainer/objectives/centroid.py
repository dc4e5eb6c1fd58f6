"""Triplets of a row, the centroid of its class and that of another class."""

from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from embedtune_api.base import ApiModel
from embedtune_trainer.objectives.loss import BatchLoss

Indices = NDArray[np.int64]


class CentroidTripletLoss(ApiModel):
    """max(0, d(a, c) - d(a, c') + margin), averaged over what is above 0.

    c is the mean of the batch's other rows of a's class, c' that of all its rows of another class,
    for every row a and every other class (Wieczorek et al. 2021, arXiv 2104.13643). It is that of
    pytorch-metric-learning 1.7, which 2.0 dropped, with distances between vectors of length 1; a
    row that is alone in its class is no anchor here, where that refuses the batch. A zero vector,
    be it a row or a centroid, stays one and gets no gradient. It holds rows times classes numbers.
    """

    margin: Annotated[float, Field(gt=0, le=100)] = 0.05
    """how much farther the other centroid shall be, above 0 and up to 100 (default 0.05)"""
    distance: Literal["cosine", "euclidean"] = "euclidean"
    """cosine (1 - cos) or euclidean, of vectors of length 1 (default euclidean)"""
    soft: bool = False
    """true or false; a softplus in place of the hinge (default false)"""

    def __call__(self, embeddings_BD: Tensor, labels_B: Indices) -> BatchLoss:
        """The batch's loss; its terms are the triplets above 0.

        Args:
            embeddings_BD: float32 or float64, of any length.
            labels_B: the rows' classes, any integers.
        """
        _, class_B, size_C = np.unique(labels_B, return_inverse=True, return_counts=True)
        anchor_A = np.flatnonzero(size_C[class_B] > 1)
        device = embeddings_BD.device
        own_A = torch.from_numpy(class_B[anchor_A]).to(device, non_blocking=True)
        at_A = torch.from_numpy(anchor_A).to(device, non_blocking=True)
        all_B = torch.from_numpy(class_B).to(device, non_blocking=True)
        count_C1 = torch.from_numpy(size_C).to(embeddings_BD)[:, None]
        sum_CD = embeddings_BD.new_zeros(len(size_C), embeddings_BD.shape[1])
        sum_CD = sum_CD.index_add(0, all_B, embeddings_BD)
        anchor_AD = embeddings_BD[at_A]
        rest_AD = (sum_CD[own_A] - anchor_AD) / (count_C1[own_A] - 1)
        unit_AD, rest_AD, other_CD = map(_unit, (anchor_AD, rest_AD, sum_CD / count_C1))
        if self.distance == "cosine":
            violation_AC = unit_AD @ other_CD.T - (unit_AD * rest_AD).sum(1, keepdim=True)
        else:
            near_A1 = torch.linalg.vector_norm(unit_AD - rest_AD, dim=1, keepdim=True)
            mode = "donot_use_mm_for_euclid_dist"
            violation_AC = near_A1 - torch.cdist(unit_AD, other_CD, compute_mode=mode)
        hinge_AC = (functional.softplus if self.soft else functional.relu)(
            violation_AC + self.margin
        )
        other_AC = own_A[:, None] != torch.arange(len(size_C), device=device)
        hinge_AC = torch.where(other_AC, hinge_AC, 0.0)
        terms = (hinge_AC > 0).sum()
        return BatchLoss(hinge_AC.sum() / terms.clamp(min=1), terms)


def _unit(x_ND: Tensor) -> Tensor:
    """At length 1; a zero vector stays zero and gets no gradient."""
    norm_N1 = torch.linalg.vector_norm(x_ND, dim=1, keepdim=True)
    safe_N1 = torch.where(norm_N1 > 0, norm_N1, 1.0)
    return torch.where(norm_N1 > 0, x_ND / safe_N1, 0.0)
