"""Every loss in one table: the rows it is for, how they go into batches, and what it is made of."""

from typing import Final

import torch

from embedtune_trainer.errors import BadSpec
from embedtune_trainer.objectives.kind import Known, Loss, LossKind
from embedtune_trainer.objectives.metric_learning import table as metric_learning
from embedtune_trainer.objectives.metric_learning.declared import MinerOptions
from embedtune_trainer.objectives.miners import TripletMarginMiner
from embedtune_trainer.objectives.pairs import (
    CLIPLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
    begin_temperature,
)
from embedtune_trainer.objectives.triplet import TripletMarginLoss, TripletObjective
from embedtune_trainer.rows.table import LabelledRows


def _triplet(
    options: TripletMarginLoss, miner: TripletMarginMiner | MinerOptions, known: Known
) -> Loss:
    if isinstance(miner, MinerOptions):
        return metric_learning.mined_triplets(options, miner, known)
    objective = TripletObjective(options, miner)
    labels_N = known.labels_N
    return lambda x, batch: objective(x[0], torch.from_numpy(labels_N[batch]))


def _clip(options: CLIPLoss, _miner: None, known: Known) -> Loss:
    log_scale = known.log_scale
    if log_scale is None:
        raise BadSpec("spec.objective.loss: CLIPLoss needs a model of texts and images")
    begin_temperature(options, log_scale)
    return lambda x, batch: options(x[0], x[1], known.belongs_BC(batch, x[0]), log_scale)


def _ranking(options: MultipleNegativesRankingLoss, _miner: None, known: Known) -> Loss:
    return lambda x, batch: options(x[0], torch.cat(list(x[1:])), known.belongs_BC(batch, x[0]))


def _scored(options: CosineSimilarityLoss, _miner: None, known: Known) -> Loss:
    scores = None if isinstance(known.rows, LabelledRows) else known.rows.scores_N
    scores_N = torch.as_tensor(scores, dtype=torch.float32)
    return lambda x, batch: options(x[0], x[1], scores_N[batch].to(x[0].device))


_OWN: Final[dict[str, LossKind]] = {
    "TripletMarginLoss": LossKind(
        ("labelled",),
        "class",
        TripletMarginLoss,
        _triplet,
        {"TripletMarginMiner": TripletMarginMiner, **metric_learning.MINERS},
        default_miner="TripletMarginMiner",
    ),
    "CLIPLoss": LossKind(("text-image",), "random", CLIPLoss, _clip),
    "MultipleNegativesRankingLoss": LossKind(
        ("pairs", "text-image"),
        "random",
        MultipleNegativesRankingLoss,
        _ranking,
        hard_negatives=True,
    ),
    "CosineSimilarityLoss": LossKind(("scored",), "random", CosineSimilarityLoss, _scored),
}
LOSSES: Final = {**_OWN, **metric_learning.LOSSES}
"""By their names in the spec; of several for a layout, the first is what `auto` means."""
