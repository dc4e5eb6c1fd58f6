"""Whether embeddings still differ from each other."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

LEAST_SPREAD: Final = 1e-6
"""Below it, embeddings count as one and the same; what float32 tells apart is about 1e-13."""


def spread(embeddings_BD: Tensor) -> Tensor:
    """Scalar, 0 to 1: the mean squared distance of the directions to their mean.

    For directions it is 1 - |mean|^2, here summed up from the differences, since those are exact
    where it matters.
    """
    unit_BD = functional.normalize(embeddings_BD.float(), dim=-1)
    return (unit_BD - unit_BD.mean(0)).square().sum(1).mean()


def effective_rank(embeddings_BD: Tensor) -> Tensor:
    """Scalar, 1 to min(B, D): over how many dimensions the directions are spread.

    exp(-sum_i p_i ln p_i), p being the singular values of the centred directions divided by their
    sum (Roy and Vetterli 2007). 1 where they do not differ.
    """
    unit_BD = functional.normalize(embeddings_BD.float(), dim=-1)
    values_R = torch.linalg.svdvals(unit_BD - unit_BD.mean(0))
    share_R = values_R / values_R.sum().clamp(min=torch.finfo(values_R.dtype).tiny)
    entropy: Tensor = torch.special.entr(share_R).sum()
    return entropy.exp()
