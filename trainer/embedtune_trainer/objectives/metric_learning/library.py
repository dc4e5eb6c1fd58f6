"""Where the library is imported: its losses and miners out of their options."""

from collections.abc import Callable
from typing import Any, Final

import torch
from pytorch_metric_learning import (  # type: ignore[import-untyped]
    distances,
    losses,
    miners,
)
from torch import Tensor, nn

from embedtune_trainer.objectives.metric_learning.declared import (
    Declared,
    LossOptions,
    MinerOptions,
)

LARGEST = 1 - 1e-6
"""float32 has 16 numbers between it and 1."""


class BoundedCosine(distances.CosineSimilarity):  # type: ignore[misc]
    """The cosine, at most LARGEST and at least its opposite.

    Losses of angles take its arc cosine, whose gradient is infinite at 1, so that two equal items
    in a batch would make every weight NaN, and so would a cosine rounded to more than 1. Beyond the
    bound the gradient is 0.
    """

    def compute_mat(self, query_BD: Tensor, reference_CD: Tensor) -> Tensor:
        """(B, C), of vectors of length 1."""
        cosine_BC: Tensor = super().compute_mat(query_BD, reference_CD)
        return cosine_BC.clamp(-LARGEST, LARGEST)


DISTANCES: Final[dict[str, Callable[[], nn.Module]]] = {
    "cosine": distances.CosineSimilarity,
    "bounded cosine": BoundedCosine,
    "euclidean": lambda: distances.LpDistance(p=2),
    "sqeuclidean": lambda: distances.LpDistance(p=2, power=2),
}
"""Each between embeddings of length 1; the cosines are similarities."""


def library_loss(options: LossOptions, classes: int, embedding_dim: int, seed: int) -> nn.Module:
    """The library's loss of these options; its weights depend on `seed` alone."""
    arguments = _arguments(options)
    if options.class_arguments is not None:
        arguments |= dict(zip(options.class_arguments, (classes, embedding_dim), strict=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loss: nn.Module = getattr(losses, type(options).__name__)(**arguments)
    return loss


def library_miner(options: MinerOptions) -> nn.Module:
    """The library's miner of these options."""
    miner: nn.Module = getattr(miners, type(options).__name__)(**_arguments(options))
    return miner


def _arguments(options: Declared) -> dict[str, Any]:
    given = options.arguments()
    if "distance" in given:
        given["distance"] = DISTANCES[given["distance"]]()
    return given
