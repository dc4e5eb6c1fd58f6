"""spec.data: what the model learns from, and what it is measured on."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from embedtune_api.base import ApiModel
from embedtune_api.fields import DataUri, cel
from embedtune_api.selection import METRIC_PATTERN, Every, Gate

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]


class Columns(ApiModel):
    """Which column holds what, by the names in the header or the keys of the records."""

    item: ColumnName | None = None
    """The text, image or vector of a labelled row."""
    label: ColumnName | None = None
    """The class of a labelled row."""
    anchor: ColumnName | None = None
    """The first item of a pair."""
    positive: ColumnName | None = None
    """The second item of a pair."""
    negatives: Annotated[tuple[ColumnName, ...], Field(max_length=32)] = ()
    """Hard negatives of the pair's anchor, a column each. Default: none."""
    score: ColumnName | None = None
    """How alike the two items of a pair are."""
    text: ColumnName | None = None
    """The text of a text-image pair."""
    image: ColumnName | None = None
    """The image of a text-image pair: a path, a URL, or the file's bytes."""


class CsvOptions(ApiModel):
    """How a CSV file is read (RFC 4180: comma or the delimiter here, double quotes)."""

    header: Literal["auto", "present", "absent"] = "auto"
    """
    Whether the first row names the columns. Default auto: it does if its cells are names that
    dataset.columns defaults to, or if columns is given; else every row is data.
    """
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """One character between cells. Default: a tab for .tsv and .tab files, else a comma."""
    encoding: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=32)] = "utf-8"
    """The file's character encoding by its Python name. Default utf-8 (a BOM is skipped)."""


class Dataset(ApiModel):
    """Rows in a file or a folder."""

    uri: DataUri
    """
    Where they lie, for example s3://datasets/train.csv, pvc://CLAIM/PATH or
    hf://datasets/OWNER/NAME[@REVISION][/FILE]. Required.
    """
    format: Literal[
        "auto", "csv", "jsonl", "parquet", "documents", "datasets", "images", "webdataset"
    ] = "auto"
    """
    csv, jsonl, parquet, documents (a DocumentArray that docarray saved), datasets (a folder that
    Hugging Face datasets saved), images (a folder with a subfolder for each class), webdataset (tar
    files). csv and jsonl may be compressed (.gz, .bz2, .xz, .zst), and every format may be a folder
    of such files. Default auto: told from the name's ending (.csv, .tsv.gz, .jsonl, .parquet, ...).
    """
    layout: Literal["auto", "labelled", "pairs", "scored", "text-image"] = "auto"
    """
    What a row is: labelled (item, label), pairs (anchor, positive, hard negatives), scored (two
    items and how alike they are), text-image. Default auto: told from the columns; two columns
    without a header are item,label, or text and image for a model of both.
    """
    columns: Columns | None = None
    """
    Columns by name. Default: label, score, image, text and caption, and usual names such as item,
    sentence, question, query, anchor and positive.
    """
    csv: CsvOptions = CsvOptions()
    """How to read a CSV file."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """
    What a row that is wrong does: fail the job, or be left out, counted and listed; more than 1 %
    fails in any case. Default fail.
    """
    limit: Annotated[int, Field(ge=1)] | None = None
    """Rows that are read, from the first. Default: all."""


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
    metric: Annotated[str, Field(pattern=METRIC_PATTERN, max_length=32)] = "auto"
    """
    The headline metric that the status shows before and after, for example ndcg_at_10, map, mrr,
    precision_at_1, spearman; with image_to_text_ before it, of the search for texts with images. A
    metric at k has its k among the cutoffs. Default auto: spearman for scored pairs, else
    ndcg_at_10, or ndcg at the largest cutoff if 10 is none.
    """
    every: Every | None = None
    """
    How often the model is measured between before and after, by which keepBest and stopEarly judge.
    Default: after each epoch.
    """
    gate: Gate | None = None
    """What the model must reach for the job to be Complete. Default: nothing."""
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
