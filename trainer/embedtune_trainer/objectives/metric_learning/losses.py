"""Options of the losses that compare the rows of a batch with each other.

Embeddings are brought to length 1 by each of them but VICRegLoss. Margins of LiftedStructureLoss,
GeneralizedLiftedStructureLoss and MarginLoss are distances, so that they take no cosine, which is a
similarity in the library; sqeuclidean is 2 (1 - cosine).
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from embedtune_trainer.objectives.metric_learning.declared import (
    Count,
    Distance,
    Euclidean,
    LossOptions,
    NotNegative,
    Positive,
)


class AngularLoss(LossOptions):
    """The angle at the negative of the triangle of anchor, positive and negative."""

    source: ClassVar[str] = "Wang et al. 2017, arXiv 1708.01682"
    alpha: Annotated[float, Field(gt=0, lt=90)] = 40.0
    """upper bound of the angle in degrees (default 40)"""


class CircleLoss(LossOptions):
    """Each similarity weighted by how far it is from its optimum."""

    source: ClassVar[str] = "Sun et al. 2020, arXiv 2002.10857"
    m: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """relaxation of the decision boundary, 0 to 1 (default 0.4)"""
    gamma: Positive = 80.0
    """scale of the similarities, above 0 (default 80)"""


class FastAPLoss(LossOptions):
    """1 - average precision, by soft histograms of the distances."""

    source: ClassVar[str] = "Cakir et al. 2019, CVPR, Deep Metric Learning to Rank"
    num_bins: Count = 10
    """bins of the histograms (default 10)"""


class GeneralizedLiftedStructureLoss(LossOptions):
    """All of an anchor's positives against all of its negatives."""

    source: ClassVar[str] = "Hermans et al. 2017, arXiv 1703.07737, page 4"
    neg_margin: float = 1.0
    """what negatives' distances are taken from (default 1)"""
    pos_margin: float = 0.0
    """what is taken from positives' distances (default 0)"""
    distance: Euclidean = "euclidean"
    """euclidean or sqeuclidean (default euclidean)"""


class IntraPairVarianceLoss(LossOptions):
    """How far pairs are from the mean of their kind; usually beside another loss."""

    source: ClassVar[str] = "Yu and Tao 2019, ICCV, Deep Metric Learning with Tuplet Margin Loss"
    pos_eps: NotNegative = 0.01
    """share of the positives' mean that is tolerated (default 0.01)"""
    neg_eps: NotNegative = 0.01
    """share of the negatives' mean that is tolerated (default 0.01)"""
    distance: Distance = "cosine"
    """cosine, euclidean or sqeuclidean (default cosine)"""


class LiftedStructureLoss(LossOptions):
    """Each positive pair against all negatives of both."""

    source: ClassVar[str] = "Song et al. 2016, arXiv 1511.06452"
    neg_margin: float = 1.0
    """what negatives' distances are taken from (default 1)"""
    pos_margin: float = 0.0
    """what is taken from positives' distances (default 0)"""
    distance: Euclidean = "euclidean"
    """euclidean or sqeuclidean (default euclidean)"""


class MarginLoss(LossOptions):
    """Positives nearer than beta - margin, negatives farther than beta + margin."""

    source: ClassVar[str] = "Wu et al. 2017, arXiv 1706.07567"
    margin: NotNegative = 0.2
    """half of the gap between positives and negatives (default 0.2)"""
    nu: NotNegative = 0.0
    """weight of beta in the loss, for learnBeta (default 0)"""
    beta: float = 1.2
    """the boundary between positives and negatives (default 1.2)"""
    triplets_per_anchor: Literal["all"] | Count = "all"
    """all, or how many are drawn for each anchor (default all)"""
    learn_beta: bool = False
    """true or false; whether beta is learnt, by lossOptimizer (default false)"""
    distance: Euclidean = "euclidean"
    """euclidean or sqeuclidean (default euclidean)"""


class MultiSimilarityLoss(LossOptions):
    """Pairs weighted by their own similarity and by that of the others."""

    source: ClassVar[str] = "Wang et al. 2019, arXiv 1904.06627"
    alpha: Positive = 2.0
    """weight of the positives' exponents, above 0 (default 2)"""
    beta: Positive = 50.0
    """weight of the negatives' exponents, above 0 (default 50)"""
    base: float = 0.5
    """what similarities are compared with (default 0.5)"""
    distance: Distance = "cosine"
    """cosine, euclidean or sqeuclidean (default cosine)"""


class NCALoss(LossOptions):
    """Minus the log of the probability that a row's random neighbour is of its class."""

    source: ClassVar[str] = "Goldberger et al. 2004, Neighbourhood Components Analysis"
    softmax_scale: Positive = 1.0
    """what the softmax's exponents are multiplied by, above 0 (default 1)"""
    distance: Distance = "sqeuclidean"
    """cosine, euclidean or sqeuclidean (default sqeuclidean)"""


class NPairsLoss(LossOptions):
    """One pair of each class, each anchor's positive against those of the other classes."""

    source: ClassVar[str] = "Sohn 2016, Improved Deep Metric Learning with Multi-class N-pair Loss"
    distance: Distance = "cosine"
    """cosine, euclidean or sqeuclidean (default cosine)"""


class PNPLoss(LossOptions):
    """The negatives ranked before each positive; it holds batchSize^3 numbers."""

    source: ClassVar[str] = "Li et al. 2022, arXiv 2102.04640"
    takes_miner: ClassVar[bool] = False
    b: Positive = 2.0
    """boundary for variant Ib, above 0 (default 2)"""
    alpha: Positive = 1.0
    """power for variant Dq, above 0 (default 1)"""
    anneal: Positive = 0.01
    """temperature of the sigmoid, above 0 (default 0.01)"""
    variant: Literal["Ds", "Dq", "Iu", "Ib", "O"] = "O"
    """Ds, Dq, Iu, Ib or O (default O)"""


class SignalToNoiseRatioContrastiveLoss(LossOptions):
    """The contrastive loss of var(x - y) / var(x); it holds batchSize^2 differences."""

    source: ClassVar[str] = "Yuan et al. 2019, CVPR, Signal-to-Noise Ratio"
    pos_margin: NotNegative = 0.0
    """positives nearer than this count as 0 (default 0)"""
    neg_margin: NotNegative = 1.0
    """negatives farther than this count as 0 (default 1)"""


class ThresholdConsistentMarginLoss(LossOptions):
    """Pairs on the wrong side of a threshold that all classes share."""

    source: ClassVar[str] = "Zhang et al. 2024, arXiv 2307.04047"
    lambda_plus: NotNegative = 1.0
    """weight of the positives (default 1)"""
    lambda_minus: NotNegative = 1.0
    """weight of the negatives (default 1)"""
    margin_plus: float = 0.9
    """positives of a larger cosine count as 0 (default 0.9)"""
    margin_minus: float = 0.5
    """negatives of a smaller cosine count as 0 (default 0.5)"""


class TupletMarginLoss(LossOptions):
    """Each positive pair against the anchor's negatives, with an angle in between."""

    source: ClassVar[str] = "Yu and Tao 2019, ICCV, Deep Metric Learning with Tuplet Margin Loss"
    fixed_distance: ClassVar[str | None] = "bounded cosine"
    margin: Annotated[float, Field(ge=0, lt=180)] = 5.73
    """the angle in degrees (default 5.73)"""
    scale: Positive = 64.0
    """what cosines are multiplied by, above 0 (default 64)"""


class VICRegLoss(LossOptions):
    """Both items of a pair alike, each dimension spread, no two dimensions correlated."""

    source: ClassVar[str] = "Bardes et al. 2021, arXiv 2105.04906"
    takes_miner: ClassVar[bool] = False
    invariance_lambda: NotNegative = 25.0
    """weight of the distance between a pair's items (default 25)"""
    variance_mu: NotNegative = 25.0
    """weight of the dimensions' spread (default 25)"""
    covariance_v: NotNegative = 1.0
    """weight of the correlations (default 1)"""
    eps: Positive = 1e-4
    """added to the variance, above 0 (default 0.0001)"""


COMPARING = (
    AngularLoss,
    CircleLoss,
    FastAPLoss,
    GeneralizedLiftedStructureLoss,
    IntraPairVarianceLoss,
    LiftedStructureLoss,
    MarginLoss,
    MultiSimilarityLoss,
    NCALoss,
    NPairsLoss,
    PNPLoss,
    SignalToNoiseRatioContrastiveLoss,
    ThresholdConsistentMarginLoss,
    TupletMarginLoss,
)
"""Those over labelled rows."""
