"""The library's lines of the table of losses."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from torch import Tensor

from embedtune_trainer.objectives.centroid import CentroidTripletLoss
from embedtune_trainer.objectives.kind import Known, Loss, LossKind
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.objectives.metric_learning.adapter import (
    LabelledObjective,
    PairObjective,
)
from embedtune_trainer.objectives.metric_learning.class_losses import OF_CLASSES
from embedtune_trainer.objectives.metric_learning.declared import LossOptions, MinerOptions
from embedtune_trainer.objectives.metric_learning.losses import COMPARING, VICRegLoss
from embedtune_trainer.objectives.metric_learning.mined import (
    Mined,
    MinedObjective,
    contrastive_loss,
    triplet_loss,
)
from embedtune_trainer.objectives.metric_learning.miners import OF_THE_LIBRARY
from embedtune_trainer.objectives.triplet import TripletMarginLoss

if TYPE_CHECKING:
    from embedtune_trainer.objectives.labelled import ContrastiveLoss


def _labelled(options: LossOptions, miner: MinerOptions | None, known: Known) -> Loss:
    from embedtune_trainer.objectives.metric_learning.library import library_loss, library_miner

    loss = library_loss(options, known.classes, known.embedding_dim, known.seed)
    chosen = None if miner is None else library_miner(miner)
    return LabelledObjective(loss, chosen, known.labels_N)


def _pairs(options: LossOptions, _miner: None, known: Known) -> Loss:
    from embedtune_trainer.objectives.metric_learning.library import library_loss

    return PairObjective(library_loss(options, 0, known.embedding_dim, known.seed))


def _centroid(options: CentroidTripletLoss, _miner: None, known: Known) -> Loss:
    labels_N = known.labels_N
    return lambda x, batch: options(x[0], labels_N[batch])


def mined_triplets(options: TripletMarginLoss, miner: MinerOptions, known: Known) -> Loss:
    """The trainer's own triplet loss over what a miner of the library chooses."""
    return _over_mined(partial(triplet_loss, options), miner, known)


def mined_pairs(options: "ContrastiveLoss", miner: MinerOptions, known: Known) -> Loss:
    """The trainer's own contrastive loss over what a miner of the library chooses."""
    return _over_mined(partial(contrastive_loss, options), miner, known)


def _over_mined(
    over: Callable[[Tensor, Mined], BatchLoss], miner: MinerOptions, known: Known
) -> Loss:
    from embedtune_trainer.objectives.metric_learning.library import library_miner

    return MinedObjective(over, library_miner(miner), known.labels_N)


MINERS: Final = {declared.__name__: declared for declared in OF_THE_LIBRARY}
LOSSES: Final[dict[str, LossKind]] = {
    "CentroidTripletLoss": LossKind(("labelled",), "class", CentroidTripletLoss, _centroid),
    "VICRegLoss": LossKind(("pairs", "text-image"), "random", VICRegLoss, _pairs),
    **{
        declared.__name__: LossKind(
            ("labelled",),
            "random" if declared in OF_CLASSES else "class",
            declared,
            _labelled,
            MINERS if declared.takes_miner else {},
        )
        for declared in (*COMPARING, *OF_CLASSES)
    },
}
