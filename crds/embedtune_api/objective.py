"""spec.objective: the loss, and what it is taken over."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.fields import Options, cel
from embedtune_api.objective_names import LibraryLoss, LibraryMiner, OptimizerName

_RANKS = (
    "self.among >= self.perRow",
    "among must be at least perRow, since the negatives are drawn from so many",
)
_EACH_ONCE = (
    "self.dims.all(d, self.dims.exists_one(e, e == d))",
    "dims must each be given once",
)
_EACH_WEIGHT = (
    "!has(self.weights) || size(self.weights) in [0, size(self.dims)]",
    "weights must have one for each of dims, or be left out",
)


class HardNegatives(ApiModel):
    """
    Hard negatives mined from the current model at the beginning of each epoch: of the right items
    that are most like a row's anchor and not known to belong to it.
    """

    per_row: Annotated[int, Field(ge=1, le=8)] = 1
    """Hard negatives of each row, each encoded beside its positive. Default 1."""
    among: Annotated[int, Field(ge=1, le=1000)] = 50
    """They are drawn from so many items, the most similar ones. Default 50."""
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """
    A negative's cosine with the anchor is at most (1 - margin) times the positive's, since what is
    as similar as the positive may well be one. Default 0.05.
    """

    model_config = ConfigDict(json_schema_extra=cel(_RANKS))

    @model_validator(mode="after")
    def _enough_ranks(self) -> Self:
        if self.among < self.per_row:
            raise ValueError(_RANKS[1])
        return self


LossName = Literal[
    "TripletMarginLoss",
    "ContrastiveLoss",
    "NTXentLoss",
    "SupConLoss",
    "MultipleNegativesRankingLoss",
    "MarginMSELoss",
    "CosineSimilarityLoss",
    "CoSENTLoss",
    "CLIPLoss",
    "SigLIPLoss",
    LibraryLoss,
]
_Weight = Annotated[float, Field(gt=0, le=1000)]


class Matryoshka(ApiModel):
    """
    Embeddings that can be cut: the loss is also taken over their first numbers alone, brought to
    length 1.
    """

    dims: Annotated[list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=1, max_length=16)]
    """
    How many of the first numbers, e.g. [384, 192, 96]. The whole embedding counts only if its
    dimension is among them.
    """
    weights: Annotated[list[_Weight], Field(max_length=16)] = Field(default_factory=list)
    """The weight of each. Default 1 each."""

    model_config = ConfigDict(json_schema_extra=cel(_EACH_ONCE, _EACH_WEIGHT))

    @model_validator(mode="after")
    def _match(self) -> Self:
        if len(set(self.dims)) < len(self.dims):
            raise ValueError(_EACH_ONCE[1])
        if self.weights and len(self.weights) != len(self.dims):
            raise ValueError(_EACH_WEIGHT[1])
        return self


class AlsoLoss(ApiModel):
    """One more loss of the same batches."""

    loss: LossName
    """The loss function, which must suit the data as objective.loss must."""
    loss_options: Options = Field(default_factory=dict)
    """Its options, as objective.lossOptions."""
    miner: Literal["auto", "TripletMarginMiner", LibraryMiner] = "auto"
    """What chooses its pairs or triplets, as objective.miner. Default auto."""
    miner_options: Options = Field(default_factory=dict)
    """Options of the miner, as objective.minerOptions."""
    weight: _Weight = 1.0
    """What the loss is multiplied by before all are added up. Default 1."""


class Objective(ApiModel):
    """The loss, and which triplets of a batch it is taken over."""

    loss: Literal["auto", LossName] = "auto"
    """
    The loss function. Default auto: TripletMarginLoss for labelled rows,
    MultipleNegativesRankingLoss for pairs, CosineSimilarityLoss for scored pairs, MarginMSELoss for
    pairs with a hard negative and a score, CLIPLoss for texts with images. A loss that is named
    must suit every entry of data.mix. docs/losses.md has all, with their options.

    TripletMarginLoss, ContrastiveLoss, NTXentLoss and SupConLoss are for labelled rows;
    MultipleNegativesRankingLoss, SigLIPLoss and VICRegLoss for pairs and texts with images;
    CoSENTLoss for scored pairs; others that are not named here for labelled rows. With a larger
    model's scores, CosineSimilarityLoss and CoSENTLoss distil it, and MarginMSELoss does with what
    its scores of positive and negative differ by.
    """
    loss_options: Options = Field(default_factory=dict)
    """
    Options of the loss; where the entries of data.mix have several, each takes its own.
    TripletMarginLoss takes margin (default 0.2), distance (cosine or euclidean; default cosine) and
    soft (a softplus in place of the hinge; default false). ContrastiveLoss takes posMargin (default
    0), negMargin (default 1) and distance (default euclidean). NTXentLoss and SupConLoss take
    temperature (default 0.07 and 0.1). MultipleNegativesRankingLoss takes scale (default 20) and
    symmetric (default false). CoSENTLoss takes scale (default 20), MarginMSELoss takes scale
    (default 1). CLIPLoss takes temperature (default: the checkpoint's, or 0.07) and learnable
    (default true); SigLIPLoss takes these, too (default: the checkpoint's, or 0.1), and bias
    (default: the checkpoint's, or -10).
    """
    miner: Literal["auto", "TripletMarginMiner", LibraryMiner] = "auto"
    """
    What chooses the pairs or triplets of a batch that the loss is taken over; docs/losses.md has
    all, and which loss takes one. Default auto: TripletMarginMiner for TripletMarginLoss, and none,
    so that all pairs count, for the others.
    """
    miner_options: Options = Field(default_factory=dict)
    """
    Options of the miner. TripletMarginMiner takes typeOfTriplets: all (that violate the margin),
    semihard (for each positive the nearest negative that is farther) or hard (each anchor's
    farthest positive with its nearest negative). Default semihard.
    """
    loss_optimizer: OptimizerName = "AdamW"
    """
    torch's optimizer of the weights that a loss has of its own, such as ArcFaceLoss one vector for
    each class. Default AdamW.
    """
    loss_optimizer_options: Options = Field(default_factory=dict)
    """
    Options of lossOptimizer: learningRate (its highest; it follows training's schedule; default
    0.01), and those that spec.training.optimizerOptions takes.
    """
    weight: _Weight = 1.0
    """What the loss is multiplied by before those of also are added. Default 1."""
    also: Annotated[list[AlsoLoss], Field(max_length=8)] = Field(default_factory=list)
    """More losses of the same batches, whose weighted sum is what the model learns from."""
    matryoshka: Matryoshka | None = None
    """Take all losses over prefixes of the embeddings. Default: over the whole of them."""
    sampler: Literal["auto", "class", "random"] = "auto"
    """
    What a batch of labelled rows is made of: class, itemsPerClass rows of each of some classes, or
    random, rows as they come. Default auto: random for losses that compare a row with weights of
    its class (ArcFaceLoss and its like, see docs/losses.md), class for all others. Batches of other
    rows are always drawn at random.
    """
    items_per_class: Annotated[int, Field(ge=2, le=1024)] = 4
    """Rows of one class in a batch, at least 2, since an anchor needs a positive. Default 4."""
    hard_negatives: HardNegatives | None = None
    """
    Mine hard negatives once an epoch, for MultipleNegativesRankingLoss. Default: none, and a row's
    negatives are the batch's other rows and those that the data give.
    """
