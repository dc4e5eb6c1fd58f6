"""spec.data.evaluation: what a model is measured on, how often, and what it must reach."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.dataset import Dataset
from embedtune_api.fields import DataUri, cel
from embedtune_api.selection import Every, Gate, Metric


class Evaluation(ApiModel):
    """
    What the model is measured on before and after, as a search: each query's neighbours count as
    relevant when they have its label, or are paired with it. Scored pairs are measured by the rank
    correlation of their similarities with the scores. Give at most one of split, uri, or queries
    with index.
    """

    split: Annotated[float, Field(gt=0, lt=1)] | None = None
    """
    Fraction of the training rows that is held out, the same in every class as far as it goes.
    Each held-out row is searched against the others. Of several sets (data.mix) the first gives
    them, and the same items are left out of the others. Default 0.1 if nothing else is given.
    """
    uri: DataUri | None = None
    """
    A file of held-out rows, in the format of the training file (of mix's first entry); each is
    searched in the others.
    """
    queries: Dataset | None = None
    """Rows to search with; needs index."""
    index: Dataset | None = None
    """Rows to search in; needs queries. It may be the training file."""
    cutoffs: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=8)
    ] = (1, 5, 10)
    """The k of precision, recall, hit, f1 and ndcg at k. Default 1, 5, 10."""
    metric: Metric = "auto"
    """
    The headline metric that the status shows before and after, for example ndcg_at_10, map, mrr,
    precision_at_1, spearman, nmi; with image_to_text_ before it, of the search for texts with
    images. A metric at k has its k among the cutoffs. Default auto: spearman for scored pairs, else
    ndcg_at_10, or ndcg at the largest cutoff if 10 is none.
    """
    every: Every | None = None
    """
    How often the model is measured between before and after, by which keepBest and stopEarly judge.
    Default: after each epoch.
    """
    gate: Gate | None = None
    """What the model must reach for the job to be Complete. Default: nothing."""
    examples: Annotated[int, Field(ge=0, le=100)] = 5
    """Queries whose nearest neighbours before and after are shown in the report. Default 5."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """Items encoded at a time. Default 256."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "(has(self.split) ? 1 : 0) + (has(self.uri) ? 1 : 0)"
                " + (has(self.queries) || has(self.index) ? 1 : 0) <= 1",
                "give at most one of split, uri, or queries with index",
            ),
            ("has(self.queries) == has(self.index)", "queries and index go together"),
            (
                "!has(self.metric) || !has(self.cutoffs) || !self.metric.contains('_at_')"
                " || int(self.metric.split('_at_')[1]) in self.cutoffs",
                "metric names a k that is not among cutoffs: add it there",
            ),
        )
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        pair = self.queries is not None or self.index is not None
        if (self.split is not None) + (self.uri is not None) + pair > 1:
            raise ValueError("give at most one of split, uri, or queries with index")
        if (self.queries is None) != (self.index is None):
            raise ValueError("queries and index go together")
        if "_at_" in self.metric and int(self.metric.rsplit("_", 1)[1]) not in self.cutoffs:
            raise ValueError("metric names a k that is not among cutoffs: add it there")
        return self
