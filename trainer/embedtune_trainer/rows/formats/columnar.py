"""Parquet files, and the Arrow files that Hugging Face datasets saves, as records."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.records import Cell, Placed, Record, Stream, place

BATCH_ROWS: Final = 4096
BATCH_BYTES: Final = 2**24
BUFFER_BYTES: Final = 2**20
"""Most rows and about the most bytes that are Python's objects at a time; and what is read ahead
of a column, which else would be a row group at a time."""


def open_columnar(files: Sequence[Path], dataset: Dataset, kind: str) -> Stream:
    """Open files of the same columns.

    Raises:
        BadData: one cannot be read, or has other columns than the first.
    """
    source = dataset.uri
    schema = _schema(files[0], source)
    for file in files[1:]:
        if _schema(file, source).names != schema.names:
            raise BadData(f"{source}: {file.name} has other columns than {files[0].name}")
    names = tuple(schema.names)
    classes = _class_names(schema)
    placed = Placed([file.name for file in files], [])

    def records(columns: Sequence[int]) -> Iterator[Record]:
        wanted = [names[i] for i in columns]
        row = 0
        for file in files:
            placed.starts.append(row)
            for batch in _batches(file, wanted, source):
                cells = [_cells(batch.column(n), classes.get(n)) for n in wanted]
                for row_cells in zip(*cells, strict=True):
                    row += 1
                    yield Record(row_cells, row)

    return Stream(names, len(names), records, kind, placed if len(files) > 1 else place)


def _schema(file: Path, source: str) -> Any:  # noqa: ANN401  pyarrow has no types
    try:
        if file.suffix == ".arrow":
            with pa.memory_map(str(file)) as mapped, _arrow_reader(mapped) as reader:
                return reader.schema
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{source}: {file.name} cannot be read: {error}") from None


def _arrow_reader(mapped: Any) -> Any:  # noqa: ANN401  pyarrow has no types
    return pa.ipc.open_stream(mapped)


def _batches(file: Path, names: list[str], source: str) -> Iterator[Any]:
    try:
        if file.suffix == ".arrow":
            with pa.memory_map(str(file)) as mapped, _arrow_reader(mapped) as reader:
                for batch in reader:
                    rows = _rows_at_once(batch.nbytes, batch.num_rows)
                    for begin in range(0, batch.num_rows, rows):
                        yield batch.select(names).slice(begin, rows)
        else:
            with pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False) as parquet:
                groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
                size = max((group.total_byte_size for group in groups), default=0)
                rows = _rows_at_once(size, max((group.num_rows for group in groups), default=0))
                yield from parquet.iter_batches(rows, columns=names, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{source}: {file.name} cannot be read: {error}") from None


def _rows_at_once(size_bytes: int, rows: int) -> int:
    """So many of rows that take that much together."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(1, size_bytes)))


def _class_names(schema: Any) -> dict[str, list[str]]:  # noqa: ANN401  pyarrow has no types
    """The names of the classes by column, as datasets' ClassLabel leaves them in the schema."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features", {})
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _cells(array: Any, classes: list[str] | None) -> Sequence[Cell]:  # noqa: ANN401  as above
    """One column of one batch."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _cells(array.dictionary_decode(), classes)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _vectors(array)
    values = array.to_pylist()
    if classes:
        # -1 is what datasets writes where there is no label
        return [_class_name(value, classes) for value in values]
    if pa.types.is_struct(kind) and {field.name for field in kind} >= {"bytes", "path"}:
        return [value and (value["bytes"] or value["path"]) for value in values]
    return values  # type: ignore[no-any-return]


def _class_name(value: int | None, classes: list[str]) -> Cell:
    if value is None or value == -1:
        return None
    return classes[value] if 0 <= value < len(classes) else value


def _vectors(array: Any) -> list[Cell]:  # noqa: ANN401  pyarrow has no types
    inner = array.type.value_type
    if not (pa.types.is_floating(inner) or pa.types.is_integer(inner)):
        return array.to_pylist()  # type: ignore[no-any-return]
    out: list[Cell] = []
    for value in array:
        numbers = value.values
        if numbers is None:
            out.append(None)
        elif numbers.null_count:
            out.append(np.array([np.nan], dtype=np.float32))
        else:
            with np.errstate(over="ignore"):
                out.append(numbers.to_numpy(zero_copy_only=False).astype(np.float32))
    return out
