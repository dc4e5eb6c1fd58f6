"""Rows in files: where they lie, and how they are read."""

from typing import Annotated, Literal

from pydantic import Field

from embedtune_api.base import ApiModel
from embedtune_api.fields import DataUri

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
