"""Every loss in one table: the rows it is for, how they go into batches, and what it is made of."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from embedtune_api.base import ApiModel
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives.kind import Known, Loss, LossKind
from embedtune_trainer.objectives.labelled import ContrastiveLoss, NTXentLoss, SupConLoss
from embedtune_trainer.objectives.loss import BatchLoss
from embedtune_trainer.objectives.metric_learning import table as metric_learning
from embedtune_trainer.objectives.metric_learning.declared import MinerOptions
from embedtune_trainer.objectives.miners import TripletMarginMiner
from embedtune_trainer.objectives.ranking import (
    CLIPLoss,
    MultipleNegativesRankingLoss,
    begin_temperature,
)
from embedtune_trainer.objectives.scores import CoSENTLoss, CosineSimilarityLoss, MarginMSELoss
from embedtune_trainer.objectives.siglip import SigLIPLoss
from embedtune_trainer.objectives.siglip_weights import SigLIPObjective
from embedtune_trainer.objectives.triplet import TripletMarginLoss, TripletObjective
from embedtune_trainer.rows.table import LabelledRows

OfLabels = Callable[[Tensor, Tensor], BatchLoss]
OfScores = Callable[[Tensor, Tensor, Tensor], BatchLoss]


def _triplet(
    options: TripletMarginLoss, miner: TripletMarginMiner | MinerOptions, known: Known
) -> Loss:
    if isinstance(miner, MinerOptions):
        return metric_learning.mined_triplets(options, miner, known)
    return _labelled(TripletObjective(options, miner), None, known)


def _contrastive(options: ContrastiveLoss, miner: MinerOptions | None, known: Known) -> Loss:
    if miner is not None:
        return metric_learning.mined_pairs(options, miner, known)
    return _labelled(options, None, known)


def _labelled(loss: OfLabels, _miner: None, known: Known) -> Loss:
    labels_N = torch.from_numpy(known.labels_N)
    return lambda x, batch: loss(x[0], labels_N[batch])


def _clip(options: CLIPLoss, _miner: None, known: Known) -> Loss:
    log_scale = known.log_scale
    if log_scale is None:
        raise BadSpec("spec.objective.loss: CLIPLoss needs a model of texts and images")
    begin_temperature(options.temperature, log_scale, learn=options.learnable)
    return lambda x, batch: options(x[0], x[1], log_scale, known.left_out(batch, x[0].device))


def _siglip(options: SigLIPLoss, _miner: None, known: Known) -> Loss:
    return SigLIPObjective(options, known)


def _ranking(options: MultipleNegativesRankingLoss, _miner: None, known: Known) -> Loss:
    return lambda x, batch: options(
        x[0], torch.cat(list(x[1:])), known.left_out(batch, x[0].device)
    )


def _scored(loss: OfScores, _miner: None, known: Known) -> Loss:
    scores = None if isinstance(known.rows, LabelledRows) else known.rows.scores_N
    scores_N = torch.as_tensor(scores, dtype=torch.float32)
    return lambda x, batch: loss(x[0], x[1], scores_N[batch].to(x[0].device, non_blocking=True))


def _margin(loss: MarginMSELoss, _miner: None, known: Known) -> Loss:
    margins = None if isinstance(known.rows, LabelledRows) else known.rows.margins_N
    margins_N = torch.as_tensor(margins, dtype=torch.float32)
    return lambda x, batch: loss(
        x[0], x[1], x[2], margins_N[batch].to(x[0].device, non_blocking=True)
    )


def _of_labels(options: type[ApiModel]) -> LossKind:
    build: Callable[[Any, Any, Known], Loss] = _labelled
    return LossKind(("labelled",), "class", options, build)


_OWN: Final[dict[str, LossKind]] = {
    "TripletMarginLoss": LossKind(
        ("labelled",),
        "class",
        TripletMarginLoss,
        _triplet,
        {"TripletMarginMiner": TripletMarginMiner, **metric_learning.MINERS},
        default_miner="TripletMarginMiner",
    ),
    "ContrastiveLoss": LossKind(
        ("labelled",), "class", ContrastiveLoss, _contrastive, metric_learning.MINERS
    ),
    "NTXentLoss": _of_labels(NTXentLoss),
    "SupConLoss": _of_labels(SupConLoss),
    "CLIPLoss": LossKind(("text-image",), "random", CLIPLoss, _clip),
    "MarginMSELoss": LossKind(("margins",), "random", MarginMSELoss, _margin),
    "MultipleNegativesRankingLoss": LossKind(
        ("pairs", "margins", "text-image"),
        "random",
        MultipleNegativesRankingLoss,
        _ranking,
        hard_negatives=True,
    ),
    "SigLIPLoss": LossKind(("text-image", "pairs"), "random", SigLIPLoss, _siglip),
    "CosineSimilarityLoss": LossKind(("scored",), "random", CosineSimilarityLoss, _scored),
    "CoSENTLoss": LossKind(("scored",), "random", CoSENTLoss, _scored),
}
LOSSES: Final = {**_OWN, **metric_learning.LOSSES}
"""By their names in the spec; of several for a layout, the first is what `auto` means."""
