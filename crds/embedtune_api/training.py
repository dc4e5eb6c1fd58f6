"""spec.objective and spec.training: the loss, and the optimisation."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.fields import Options, cel

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
    ] = "auto"
    """
    The loss function. Default auto: TripletMarginLoss for labelled rows,
    MultipleNegativesRankingLoss for pairs, CosineSimilarityLoss for scored pairs, CLIPLoss for
    texts with images. A loss that is named must suit every entry of data.mix.
    """
    loss_options: Options = Field(default_factory=dict)
    """
    Options of the loss; where the entries of data.mix have several, each takes its own.
    TripletMarginLoss takes margin (default 0.2), distance (cosine or euclidean; default cosine) and
    soft (a softplus in place of the hinge; default false). MultipleNegativesRankingLoss takes scale
    (default 20) and symmetric (default false). CLIPLoss takes temperature (default: the
    checkpoint's, or 0.07) and learnable (default true).
    """
    miner: Literal["TripletMarginMiner"] = "TripletMarginMiner"
    """What chooses the triplets of a batch for a triplet loss. Default TripletMarginMiner."""
    miner_options: Options = Field(default_factory=dict)
    """
    Options of the miner. TripletMarginMiner takes typeOfTriplets: all (that violate the margin),
    semihard (for each positive the nearest negative that is farther) or hard (each anchor's
    farthest positive with its nearest negative). Default semihard.
    """
    items_per_class: Annotated[int, Field(ge=2, le=1024)] = 4
    """Rows of one class in a batch, at least 2, since an anchor needs a positive. Default 4."""
    hard_negatives: HardNegatives | None = None
    """
    Mine hard negatives once an epoch, for MultipleNegativesRankingLoss. Default: none, and a row's
    negatives are the batch's other rows and those that the data give.
    """


class Training(ApiModel):
    """The optimisation."""

    epochs: Annotated[int, Field(ge=1, le=10000)] = 5
    """Times that every training row is seen. Default 5."""
    batch_size: Annotated[int, Field(ge=4, le=65536)] = 64
    """Rows in a batch, at least twice itemsPerClass. Default 64."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-5
    """Highest learning rate of AdamW, a number such as 5e-5. Default 2e-5."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Fraction of the steps in which the learning rate rises linearly from 0. Default 0.1."""
    scheduler: Literal["linear", "constant"] = "linear"
    """The learning rate after the warm-up: linear falls to 0, constant stays. Default linear."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """AdamW's weight decay, not applied to biases and norms. Default 0.01."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of everything random: split, batches, dropout, new layers. Default 0."""
    augmentation: Literal["auto", "none"] = "auto"
    """
    How images are varied from epoch to epoch: auto crops and flips them, and changes their
    colours a little; none shows them as they are. Default auto.
    """
