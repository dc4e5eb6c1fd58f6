"""Any data file or folder to rows: format by name, layout by columns, every cell checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.rows.build import build
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.formats.compressed import ending_of
from embedtune_trainer.rows.formats.csv import open_csv
from embedtune_trainer.rows.formats.folder import LINES, Format, files_of, kind_of_folder
from embedtune_trainer.rows.formats.mistaken import refuse_mistaken
from embedtune_trainer.rows.images import ImageFetcher, ImageReader
from embedtune_trainer.rows.layout import Layout, Wanted, by_name, by_position, is_header
from embedtune_trainer.rows.order import in_order
from embedtune_trainer.rows.records import Stream
from embedtune_trainer.rows.table import Rows

__all__ = ["ImageFetcher", "Reading", "Wanted", "format_of", "read", "read_rows"]

_ENDINGS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "datasets",
    ".tar": "webdataset",
}
_DOCUMENTS: Final = (
    *(".json", ".protobuf", ".protobuf-array", ".pickle", ".pickle-array", ".docs"),
    *(".lz4", ".bz2", ".lzma", ".zlib", ".gzip"),
)


@dataclass(frozen=True)
class Reading:
    """What a data file turned out to be.

    Attributes:
        rows: its rows.
        format: the file's format.
        layout: what a row is, and which column holds what.
        names: of all its columns; None if it has no header.
    """

    rows: Rows
    format: str
    layout: Layout
    names: tuple[str, ...] | None


def read_rows(
    path: Path,
    dataset: Dataset,
    want: Wanted,
    field: str = "spec.data.train",
    fetch: ImageFetcher | None = None,
    scratch: Path | None = None,
) -> Rows:
    """Read one data file or folder.

    Args:
        path: the file or folder on this machine.
        dataset: how to read it; its uri is what messages call it.
        want: what the model takes.
        field: the dataset's path in the spec, for messages.
        fetch: gets images from elsewhere; None where there are none.
        scratch: the folder for columns that are too large for the memory; None for the system's
            own for such files. Nothing is left in it.

    Raises:
        BadSpec: the format cannot be told, or the spec contradicts itself or the model.
        BadData: the data is wrong, with row, column and what to do.
        StorageUnavailable: an image's place does not answer.
    """
    return read(path, dataset, want, field, fetch, scratch).rows


def read(
    path: Path,
    dataset: Dataset,
    want: Wanted,
    field: str = "spec.data.train",
    fetch: ImageFetcher | None = None,
    scratch: Path | None = None,
) -> Reading:
    """As `read_rows`, with what was found out on the way."""
    faults = Faults(dataset.uri, dataset.on_bad_row)

    def header(cells: Sequence[str]) -> bool:
        return is_header(cells, dataset, want, field)

    stream = open_stream(path, dataset, field, faults, scratch, header)
    if stream.names is None:
        layout = by_position(stream.first, dataset, want, field)
    else:
        where = f"{dataset.uri}: row 1" if stream.format == "csv" else dataset.uri
        layout = by_name(stream.names, dataset, want, field, where)
    if path.is_dir():
        images = ImageReader(path, None, fetch)
    else:
        images = ImageReader(path.parent, dataset.uri, fetch)
    if not layout.ordered:
        looking = Faults(dataset.uri, "skip")
        looked_at = open_stream(path, dataset, field, looking, scratch, header)
        layout = in_order(layout, looked_at, dataset.uri, images, dataset.limit)
    rows = build(stream, layout, want, faults, images, dataset.limit, scratch)
    return Reading(rows, stream.format, layout, stream.names)


def format_of(path: Path, dataset: Dataset, field: str) -> Format:
    """The format: what the spec says, or the name's ending, or what lies in the folder.

    Raises:
        BadSpec: it cannot be told.
    """
    if dataset.format != "auto":
        return dataset.format
    ending = ending_of(dataset.uri, LINES)
    if path.is_dir():
        return kind_of_folder(path, dataset.uri, field)
    if ending in _DOCUMENTS:
        return "documents"
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    raise BadSpec(
        f"{field}.format: cannot be told from the name {dataset.uri}, which ends in none of"
        f" {', '.join(_ENDINGS)}; set it to what the file is"
    )


def open_stream(
    path: Path,
    dataset: Dataset,
    field: str,
    faults: Faults,
    scratch: Path | None,
    header: Callable[[Sequence[str]], bool],
) -> Stream:
    """A data file or folder as records.

    Args:
        path: the file or folder on this machine.
        dataset: how to read it.
        field: the dataset's path in the spec, for messages.
        faults: told of rows that are wrong.
        scratch: the folder for what is large.
        header: whether a CSV file's first row, these cells, names its columns.

    Raises:
        BadSpec: the format cannot be told.
        BadData: the file is not of this format.
    """
    kind = format_of(path, dataset, field)
    if dataset.csv.header != "auto" and kind != "csv":
        raise BadSpec(f"{field}.csv: the file is read as {kind}, not as csv")
    if kind == "images":
        from embedtune_trainer.rows.formats.class_folders import open_class_folders

        return open_class_folders(path, dataset, faults, scratch)
    files = files_of(path, kind, dataset.uri, field)
    for file in files:
        refuse_mistaken(file, kind, dataset.uri, field, dataset.csv.encoding)
    if kind == "csv":
        return open_csv(files, dataset, field, faults, header)
    if kind == "jsonl":
        from embedtune_trainer.rows.formats.jsonl import open_jsonl

        return open_jsonl(files, dataset, faults)
    if kind == "webdataset":
        from embedtune_trainer.rows.formats.webdataset import open_webdataset

        return open_webdataset(files, dataset, faults)
    if kind == "documents":
        from embedtune_trainer.rows.documents.open import open_documents

        return open_documents(files, dataset, faults)
    from embedtune_trainer.rows.formats.columnar import open_columnar

    return open_columnar(files, dataset, kind)
