"""Options of the miners, which choose pairs or triplets of a batch by its embeddings.

Distances are between embeddings of length 1. A miner of triplets looks at all of them, so that it
holds about batchSize^3 bytes.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from embedtune_trainer.objectives.metric_learning.declared import (
    Count,
    Distance,
    Euclidean,
    MinerOptions,
    NotNegative,
    Positive,
)

_Strategy = Literal["easy", "semihard", "hard", "all"]


class AngularMiner(MinerOptions):
    """Triplets whose angle at the negative is larger than this."""

    source: ClassVar[str] = "Wang et al. 2017, arXiv 1708.01682"
    gives: ClassVar[Literal["pairs", "triplets"]] = "triplets"
    angle: Annotated[float, Field(ge=0, lt=90)] = 20.0
    """in degrees (default 20)"""


class BatchEasyHardMiner(MinerOptions):
    """For each row a positive and a negative, each by a strategy of its own."""

    source: ClassVar[str] = "Xuan et al. 2020, arXiv 1904.04370"
    pos_strategy: _Strategy = "easy"
    """easy (the nearest), semihard, hard (the farthest) or all (default easy)"""
    neg_strategy: _Strategy = "semihard"
    """easy (the farthest), semihard, hard (the nearest) or all (default semihard)"""
    distance: Distance = "euclidean"
    """cosine, euclidean or sqeuclidean (default euclidean)"""

    @model_validator(mode="after")
    def _combine(self) -> Self:
        both = {self.pos_strategy, self.neg_strategy}
        if "semihard" in both and (len(both) == 1 or "all" in both):
            raise ValueError(
                "posStrategy and negStrategy: semihard goes with easy or hard on the other side"
            )
        return self


class BatchHardMiner(MinerOptions):
    """For each row the farthest positive and the nearest negative."""

    source: ClassVar[str] = "Hermans et al. 2017, arXiv 1703.07737"
    gives: ClassVar[Literal["pairs", "triplets"]] = "triplets"
    distance: Distance = "euclidean"
    """cosine, euclidean or sqeuclidean (default euclidean)"""


class DistanceWeightedMiner(MinerOptions):
    """Triplets with negatives drawn so that all distances come alike often."""

    source: ClassVar[str] = "Wu et al. 2017, arXiv 1706.07567"
    gives: ClassVar[Literal["pairs", "triplets"]] = "triplets"
    cutoff: Positive = 0.5
    """smaller distances are taken for this one, above 0 (default 0.5)"""
    nonzero_loss_cutoff: Positive = 1.4
    """negatives at this distance and beyond are left out, above 0 (default 1.4)"""


class HDCMiner(MinerOptions):
    """The hardest share of the positive and of the negative pairs."""

    source: ClassVar[str] = "Yuan et al. 2017, arXiv 1611.05720"
    filter_percentage: Annotated[float, Field(gt=0, le=1)] = 0.5
    """the share, above 0 and up to 1 (default 0.5)"""
    distance: Distance = "euclidean"
    """cosine, euclidean or sqeuclidean (default euclidean)"""


class MultiSimilarityMiner(MinerOptions):
    """Pairs that are harder than the hardest of the other kind, but for epsilon."""

    source: ClassVar[str] = "Wang et al. 2019, arXiv 1904.06627"
    epsilon: NotNegative = 0.1
    """by how much a pair may be easier than that (default 0.1)"""
    distance: Distance = "cosine"
    """cosine, euclidean or sqeuclidean (default cosine)"""


class PairMarginMiner(MinerOptions):
    """Positives that are farther and negatives that are nearer than a margin."""

    source: ClassVar[str] = "pytorch-metric-learning"
    pos_margin: NotNegative = 0.2
    """positives that are nearer are left out (default 0.2)"""
    neg_margin: NotNegative = 0.8
    """negatives that are farther are left out (default 0.8)"""
    distance: Euclidean = "euclidean"
    """euclidean or sqeuclidean (default euclidean)"""


class UniformHistogramMiner(MinerOptions):
    """Pairs drawn so that every bin of a histogram of the distances has as many."""

    source: ClassVar[str] = "pytorch-metric-learning"
    num_bins: Count = 100
    """bins between the smallest and the largest distance (default 100)"""
    pos_per_bin: Count = 10
    """positives that are drawn from a bin (default 10)"""
    neg_per_bin: Count = 10
    """negatives that are drawn from a bin (default 10)"""
    distance: Distance = "euclidean"
    """cosine, euclidean or sqeuclidean (default euclidean)"""


OF_THE_LIBRARY = (
    AngularMiner,
    BatchEasyHardMiner,
    BatchHardMiner,
    DistanceWeightedMiner,
    HDCMiner,
    MultiSimilarityMiner,
    PairMarginMiner,
    UniformHistogramMiner,
)
