"""When a training is measured, and what follows: the best weights, an early end, a gate."""

from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.fields import cel

_SEARCH: Final = (
    r"(image_to_text_)?(map|mrr|r_precision|(precision|recall|hit|f1|ndcg)_at_[1-9][0-9]{0,3})"
)
METRIC_PATTERN: Final = rf"^(auto|spearman|nmi|{_SEARCH})$"
Metric = Annotated[str, Field(pattern=METRIC_PATTERN, max_length=32)]
"""A metric of the evaluation, or auto for its headline."""
Monitor = Annotated[str, Field(pattern=rf"^(auto|loss|spearman|nmi|{_SEARCH})$", max_length=32)]
"""A metric, or loss, which alone is better when it is less."""

_ONE = ("has(self.epochs) != has(self.steps)", "give epochs or steps")


class Every(ApiModel):
    """How often the model is measured while it is trained. Give epochs or steps."""

    epochs: Annotated[int, Field(ge=1, le=10000)] | None = None
    """Measure at the end of every so many epochs."""
    steps: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Measure after every so many steps."""

    model_config = ConfigDict(json_schema_extra=cel(_ONE))

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(_ONE[1])
        return self


class Gate(ApiModel):
    """
    How much better than the backbone the model must be. One that is not is kept all the same, and
    its job fails with the reason NotImproved.
    """

    metric: Metric = "auto"
    """The metric that is compared. Default auto: the headline metric."""
    min_improvement: Annotated[float, Field(ge=0, le=2)] = 0.0
    """
    Least difference of the metric after the training to that before. Default 0, which still asks
    for more than none.
    """


class KeepBest(ApiModel):
    """Keep the weights of the evaluation at which a metric was best, not the last ones."""

    monitor: Monitor = "auto"
    """
    The metric, as in data.evaluation.metric, or loss, the training's mean loss since the evaluation
    before. Default auto: the headline metric.
    """


class StopEarly(ApiModel):
    """End the training when a metric gets no better."""

    monitor: Monitor = "auto"
    """
    The metric, as in data.evaluation.metric, or loss, the training's mean loss since the evaluation
    before. Default auto: the headline metric.
    """
    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    """Evaluations in a row without a better value after which the training ends. Default 3."""
    min_delta: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """By more than this a value must be better than the best to count as better. Default 0."""


class WiseFT(ApiModel):
    """
    Weights between the backbone's and the tuned ones, which keep more of what the backbone knew
    (Wortsman et al. 2022). Not with projection or lora, which the backbone has no weights for.
    """

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the tuned weights: 0 is the backbone, 1 the tuned model. Default 0.5."""
