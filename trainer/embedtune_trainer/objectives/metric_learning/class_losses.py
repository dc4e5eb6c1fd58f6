"""Options of the losses that compare each row with weights that its class has.

They need no two rows of a class in a batch, so that batches are drawn at random by default.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from embedtune_trainer.objectives.metric_learning.declared import (
    ClassOptions,
    Count,
    Distance,
    NotNegative,
    Positive,
)

_ANGLE = Annotated[float, Field(ge=0, lt=180)]


class ArcFaceLoss(ClassOptions):
    """Cross-entropy of the classes' cosines, an angle added for the row's own."""

    source: ClassVar[str] = "Deng et al. 2019, arXiv 1801.07698"
    fixed_distance: ClassVar[str | None] = "bounded cosine"
    margin: _ANGLE = 28.6
    """the angle in degrees (default 28.6)"""
    scale: Positive = 64.0
    """what cosines are multiplied by, above 0 (default 64)"""


class CosFaceLoss(ClassOptions):
    """Cross-entropy of the classes' cosines, a margin taken from the row's own."""

    source: ClassVar[str] = "Wang et al. 2018, arXiv 1801.09414"
    margin: NotNegative = 0.35
    """what is taken from the cosine (default 0.35)"""
    scale: Positive = 64.0
    """what cosines are multiplied by, above 0 (default 64)"""


class LargeMarginSoftmaxLoss(ClassOptions):
    """Cross-entropy of dot products, the angle to the row's own class multiplied."""

    source: ClassVar[str] = "Liu et al. 2016, arXiv 1612.02295"
    fixed_distance: ClassVar[str | None] = "bounded cosine"
    margin: Count = 4
    """what the angle is multiplied by, a whole number (default 4)"""
    scale: Positive = 1.0
    """what dot products are multiplied by, above 0 (default 1)"""


class NormalizedSoftmaxLoss(ClassOptions):
    """Cross-entropy of the classes' similarities."""

    source: ClassVar[str] = "Zhai and Wu 2019, arXiv 1811.12649"
    temperature: Positive = 0.05
    """what similarities are divided by, above 0 (default 0.05)"""
    distance: Distance = "cosine"
    """cosine, euclidean or sqeuclidean (default cosine)"""


class P2SGradLoss(ClassOptions):
    """The square of each class's cosine, and of 1 - that of the row's own."""

    source: ClassVar[str] = "Zhang et al. 2019, arXiv 1905.02479"
    takes_miner: ClassVar[bool] = False
    class_arguments: ClassVar[tuple[str, str] | None] = ("num_classes", "descriptors_dim")


class ProxyAnchorLoss(ClassOptions):
    """Each class's proxy as the anchor of the batch's rows."""

    source: ClassVar[str] = "Kim et al. 2020, arXiv 2003.13911"
    margin: float = 0.1
    """what rows of the class shall be nearer and others farther by (default 0.1)"""
    alpha: Positive = 32.0
    """what similarities are multiplied by, above 0 (default 32)"""
    distance: Distance = "cosine"
    """cosine, euclidean or sqeuclidean (default cosine)"""


class ProxyNCALoss(ClassOptions):
    """NCALoss with a proxy of each class in place of the other rows."""

    source: ClassVar[str] = "Movshovitz-Attias et al. 2017, arXiv 1703.07464"
    softmax_scale: Positive = 1.0
    """what the softmax's exponents are multiplied by, above 0 (default 1)"""
    distance: Distance = "sqeuclidean"
    """cosine, euclidean or sqeuclidean (default sqeuclidean)"""


class SoftTripleLoss(ClassOptions):
    """Cross-entropy of the classes' similarities, several centres to a class."""

    source: ClassVar[str] = "Qian et al. 2019, arXiv 1909.05235"
    centers_per_class: Count = 10
    """centres of a class (default 10)"""
    la: Positive = 20.0
    """what similarities are multiplied by, above 0 (default 20)"""
    gamma: Positive = 0.1
    """temperature of the choice among a class's centres, above 0 (default 0.1)"""
    margin: NotNegative = 0.01
    """what is taken from the own class's similarity (default 0.01)"""


class SphereFaceLoss(ClassOptions):
    """LargeMarginSoftmaxLoss with class weights of length 1."""

    source: ClassVar[str] = "Liu et al. 2017, arXiv 1704.08063"
    fixed_distance: ClassVar[str | None] = "bounded cosine"
    margin: Count = 4
    """what the angle is multiplied by, a whole number (default 4)"""
    scale: Positive = 1.0
    """what cosines times the embedding's length are multiplied by, above 0 (default 1)"""


class SubCenterArcFaceLoss(ClassOptions):
    """ArcFaceLoss with the nearest of several centres to a class."""

    source: ClassVar[str] = "Deng et al. 2020, ECCV, Sub-center ArcFace"
    fixed_distance: ClassVar[str | None] = "bounded cosine"
    margin: _ANGLE = 28.6
    """the angle in degrees (default 28.6)"""
    scale: Positive = 64.0
    """what cosines are multiplied by, above 0 (default 64)"""
    sub_centers: Count = 3
    """centres of a class (default 3)"""


OF_CLASSES = (
    ArcFaceLoss,
    CosFaceLoss,
    LargeMarginSoftmaxLoss,
    NormalizedSoftmaxLoss,
    P2SGradLoss,
    ProxyAnchorLoss,
    ProxyNCALoss,
    SoftTripleLoss,
    SphereFaceLoss,
    SubCenterArcFaceLoss,
)
