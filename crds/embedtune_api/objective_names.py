"""Names that spec.objective takes: pytorch-metric-learning's losses and miners, optimizers."""

from typing import Literal

LibraryLoss = Literal[
    "AngularLoss",
    "ArcFaceLoss",
    "CentroidTripletLoss",
    "CircleLoss",
    "CosFaceLoss",
    "FastAPLoss",
    "GeneralizedLiftedStructureLoss",
    "IntraPairVarianceLoss",
    "LargeMarginSoftmaxLoss",
    "LiftedStructureLoss",
    "MarginLoss",
    "MultiSimilarityLoss",
    "NCALoss",
    "NPairsLoss",
    "NormalizedSoftmaxLoss",
    "P2SGradLoss",
    "PNPLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "SignalToNoiseRatioContrastiveLoss",
    "SoftTripleLoss",
    "SphereFaceLoss",
    "SubCenterArcFaceLoss",
    "ThresholdConsistentMarginLoss",
    "TupletMarginLoss",
    "VICRegLoss",
]
LibraryMiner = Literal[
    "AngularMiner",
    "BatchEasyHardMiner",
    "BatchHardMiner",
    "DistanceWeightedMiner",
    "HDCMiner",
    "MultiSimilarityMiner",
    "PairMarginMiner",
    "UniformHistogramMiner",
]
OptimizerName = Literal[
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ASGD",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
]
"""torch's optimizers, for spec.training.optimizer and spec.objective.lossOptimizer."""
