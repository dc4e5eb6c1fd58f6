"""spec.data: what the model learns from, and what it is measured on."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.dataset import Columns, CsvOptions, Dataset
from embedtune_api.evaluation import Evaluation
from embedtune_api.fields import cel

__all__ = ["Columns", "CsvOptions", "Data", "Dataset", "Evaluation", "WeightedDataset"]


class WeightedDataset(Dataset):
    """Rows in a file or a folder, one of several that are trained on."""

    weight: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """
    The share of the batches that are of this entry is its weight divided by the sum of all. Give it
    for each entry or for none. Default: in proportion to the entry's own number of batches, so that
    an epoch sees every row of every entry once.
    """

    def unweighted(self) -> Dataset:
        """The rows alone."""
        return Dataset(**{name: getattr(self, name) for name in Dataset.model_fields})


_ONE_OR_SEVERAL = ("has(self.train) != has(self.mix)", "give train, or mix for several, not both")
_ALL_WEIGHTS = (
    "!has(self.mix) || self.mix.all(d, has(d.weight)) || !self.mix.exists(d, has(d.weight))",
    "give a weight for each entry of mix, or for none",
)


class Data(ApiModel):
    """What the model learns from, and what it is measured on. Give train, or mix for several."""

    train: Dataset | None = None
    """
    Rows to train on: labelled, pairs, scored pairs, or texts with images. Required, unless mix is
    given.
    """
    mix: Annotated[tuple[WeightedDataset, ...], Field(min_length=2, max_length=16)] | None = None
    """
    Several sets of rows to train on, in place of train. Each batch is of one of them, with the loss
    that suits its layout; the first is the one that the model is measured on. Default: none.
    """
    evaluation: Evaluation = Evaluation()
    """What to measure on. Default: a tenth of the training rows is held out, of mix's first."""

    model_config = ConfigDict(json_schema_extra=cel(_ONE_OR_SEVERAL, _ALL_WEIGHTS))

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if (self.train is None) == (self.mix is None):
            raise ValueError(_ONE_OR_SEVERAL[1])
        if len({entry.weight is None for entry in self.mix or ()}) > 1:
            raise ValueError(_ALL_WEIGHTS[1])
        return self

    @property
    def entries(self) -> tuple[tuple[str, Dataset], ...]:
        """What is trained on: each place in the spec with its dataset."""
        if self.train is not None:
            return (("spec.data.train", self.train),)
        return tuple(
            (f"spec.data.mix[{i}]", entry.unweighted()) for i, entry in enumerate(self.mix or ())
        )

    def like_first(self, uri: str) -> Dataset:
        """Another file that is read as the first entry is, to its end."""
        return self.entries[0][1].model_copy(update={"uri": uri, "limit": None})

    @property
    def weights(self) -> tuple[float, ...] | None:
        """Of the entries, if there are any."""
        given = tuple(entry.weight for entry in self.mix or () if entry.weight is not None)
        return given or None
