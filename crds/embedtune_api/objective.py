"""spec.objective: the loss, and what it is taken over."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.fields import Options, cel
from embedtune_api.objective_names import LibraryLoss, LibraryMiner, LossOptimizerName

_RANKS = (
    "self.among >= self.perRow",
    "among must be at least perRow, since the negatives are drawn from so many",
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


class Objective(ApiModel):
    """The loss, and which triplets of a batch it is taken over."""

    loss: Literal[
        "auto",
        "TripletMarginLoss",
        "MultipleNegativesRankingLoss",
        "CosineSimilarityLoss",
        "CLIPLoss",
        LibraryLoss,
    ] = "auto"
    """
    The loss function. Default auto: TripletMarginLoss for labelled rows,
    MultipleNegativesRankingLoss for pairs, CosineSimilarityLoss for scored pairs, CLIPLoss for
    texts with images. A loss that is named must suit every entry of data.mix. docs/losses.md has
    all, with their options; VICRegLoss is for pairs, others that are not named here for labelled
    rows.
    """
    loss_options: Options = Field(default_factory=dict)
    """
    Options of the loss; where the entries of data.mix have several, each takes its own.
    TripletMarginLoss takes margin (default 0.2), distance (cosine or euclidean; default cosine) and
    soft (a softplus in place of the hinge; default false). MultipleNegativesRankingLoss takes scale
    (default 20) and symmetric (default false). CLIPLoss takes temperature (default: the
    checkpoint's, or 0.07) and learnable (default true).
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
    loss_optimizer: LossOptimizerName = "AdamW"
    """
    torch's optimizer of the weights that a loss has of its own, such as ArcFaceLoss one vector for
    each class. Default AdamW.
    """
    loss_optimizer_options: Options = Field(default_factory=dict)
    """
    Options of lossOptimizer: learningRate (its highest; it follows training's schedule; default
    0.01), and those that spec.training.optimizerOptions takes.
    """
    items_per_class: Annotated[int, Field(ge=2, le=1024)] = 4
    """Rows of one class in a batch, at least 2, since an anchor needs a positive. Default 4."""
    hard_negatives: HardNegatives | None = None
    """
    Mine hard negatives once an epoch, for MultipleNegativesRankingLoss. Default: none, and a row's
    negatives are the batch's other rows and those that the data give.
    """
