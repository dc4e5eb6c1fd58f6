"""Names that Finetuner's documents list and that no job can use, each with the reason."""

from typing import Final

_BASE = "is what other losses are made of"
_MINER_BASE = "is what other miners are made of"

LOSSES: Final[dict[str, str]] = {
    "BaseLossWrapper": _BASE,
    "BaseMetricLossFunction": _BASE,
    "CrossBatchMemory": "wraps another loss, and needs embeddings of earlier steps",
    "DynamicSoftMarginLoss": "keeps a histogram that the library cannot save, so that no job could"
    " be resumed",
    "EmbeddingRegularizerMixin": _BASE,
    "GenericPairLoss": _BASE,
    "HistogramLoss": "fails on a batch that holds an item twice",
    "InstanceLoss": "takes the number of a class for that of a row, in the library",
    "ManifoldLoss": "takes no labels, and draws the classes of its proxies at random",
    "MultipleLosses": "adds up other losses; name them in spec.objective.also",
    "RankedListLoss": "has no defaults in the library",
    "SelfSupervisedLoss": "wraps another loss; use MultipleNegativesRankingLoss on pairs",
    "SmoothAPLoss": "needs as many rows of every class in a batch, without exception",
    "WeightRegularizerMixin": _BASE,
}
MINERS: Final[dict[str, str]] = {
    "BaseMiner": _MINER_BASE,
    "BaseSubsetBatchMiner": _MINER_BASE,
    "BaseTupleMiner": _MINER_BASE,
    "EmbeddingsAlreadyPackagedAsTriplets": "needs batches that are triplets already; use pairs"
    " with a column of negatives",
    "MaximumLossMiner": "is in the library's version 1 alone",
}


def reason(name: str) -> str | None:
    """What follows "it" in a sentence that refuses the name; None if it is none of these."""
    return LOSSES.get(name) or MINERS.get(name)
