"""Embeddings as a file: .npy, .parquet or .jsonl, by its name.

A file is there once it is whole: until then it lies beside its place, under a hidden name.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.errors import AccessDenied, BadSpec, SourceNotFound

Part = tuple[Sequence[str] | None, NDArray[np.float32]]
"""What some items are called, None for those without a name, and their (N, D) embeddings."""


def check_name(path: Path) -> None:
    """Refuse a name that says no format, or a folder that is not there.

    Raises:
        BadSpec: the ending is none of those known.
        SourceNotFound: there is no such folder.
    """
    if path.suffix.lower() not in WRITERS:
        raise BadSpec(f"--out: {path} ends in none of {', '.join(WRITERS)}, which say the format")
    if not path.absolute().parent.is_dir():
        raise SourceNotFound(f"--out: {path}: there is no folder {path.absolute().parent}")


def write_embeddings(path: Path, count: int, dim: int, parts: Iterable[Part]) -> None:
    """Write all parts, one after the other.

    Args:
        path: where to; check_name has seen it.
        count: rows in all.
        dim: of the embeddings.
        parts: in order.

    Raises:
        AccessDenied: the file cannot be written.
    """
    beside = path.absolute().with_name(f".{path.name}.part")
    try:
        WRITERS[path.suffix.lower()](beside, count, dim, parts)
        os.replace(beside, path)
    except PermissionError as error:
        raise AccessDenied(f"--out: {path}: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


def _npy(path: Path, count: int, dim: int, parts: Iterable[Part]) -> None:
    out_ND = np.lib.format.open_memmap(path, "w+", np.float32, (count, dim))
    begin = 0
    for _, part_BD in parts:
        out_ND[begin : begin + len(part_BD)] = part_BD
        begin += len(part_BD)
    out_ND.flush()


def _parquet(path: Path, count: int, dim: int, parts: Iterable[Part]) -> None:  # noqa: ARG001  as the others
    import pyarrow as pa  # type: ignore[import-untyped]  # it has none
    from pyarrow import parquet

    vector = pa.list_(pa.float32(), dim)
    schema = pa.schema([("row", pa.int64()), ("item", pa.string()), ("embedding", vector)])
    begin = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for names, part_BD in parts:
            rows = pa.array(np.arange(begin, begin + len(part_BD)))
            items = pa.array([None] * len(part_BD) if names is None else names, pa.string())
            values = pa.array(part_BD.reshape(-1), pa.float32())
            embeddings = pa.FixedSizeListArray.from_arrays(values, dim)
            writer.write_table(pa.table([rows, items, embeddings], schema))
            begin += len(part_BD)


def _jsonl(path: Path, count: int, dim: int, parts: Iterable[Part]) -> None:  # noqa: ARG001  as the others
    row = 0
    with path.open("w", encoding="utf-8") as stream:
        for names, part_BD in parts:
            for number, vector_D in enumerate(part_BD):
                told: dict[str, object] = {"row": row}
                if names is not None:
                    told["item"] = names[number]
                # A float32 is shortest as itself; as Python's it would have 17 digits.
                numbers = ", ".join(map(str, vector_D))
                head = json.dumps(told, ensure_ascii=False)[:-1]
                stream.write(f'{head}, "embedding": [{numbers}]}}\n')
                row += 1


WRITERS: Final[dict[str, Callable[[Path, int, int, Iterable[Part]], None]]] = {
    ".npy": _npy,
    ".parquet": _parquet,
    ".jsonl": _jsonl,
}
