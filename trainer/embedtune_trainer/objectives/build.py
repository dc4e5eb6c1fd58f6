"""The loss of an entry, out of all that spec.objective says of it."""

from copy import copy

from embedtune_api.objective import Matryoshka
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives.choice import ChosenLoss
from embedtune_trainer.objectives.combined import Term, combine
from embedtune_trainer.objectives.kind import Known, Loss


def build_loss(chosen: ChosenLoss, matryoshka: Matryoshka | None, known: Known) -> Loss:
    """The loss with all that is added to it, over the embeddings or their prefixes.

    A loss with weights of its own has some for each prefix.

    Raises:
        BadSpec: the loss does not suit the model, or a prefix is longer than the embeddings.
    """
    prefixes: list[tuple[int | None, float]] = [(None, 1.0)]
    if matryoshka is not None:
        if max(matryoshka.dims) > known.embedding_dim:
            raise BadSpec(
                f"spec.objective.matryoshka.dims: {max(matryoshka.dims)} is more than the"
                f" {known.embedding_dim} dimensions that the model's embeddings have"
            )
        weights = matryoshka.weights or [1.0] * len(matryoshka.dims)
        prefixes = list(zip(matryoshka.dims, weights, strict=True))
    return combine(
        [
            Term(weight * each.weight, _build(each, known, dim), dim, each.kind.columns)
            for dim, weight in prefixes
            for each in chosen.all
        ]
    )


def _build(chosen: ChosenLoss, known: Known, dim: int | None) -> Loss:
    cut = copy(known)  # what was found out of the rows already is copied, too
    if dim is not None:
        cut.embedding_dim = dim
    return chosen.kind.build(chosen.options, chosen.miner, cut)
