"""Documents as records: what Finetuner's users put into them, found again."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.documents.decode import Document, decode, pixels_or_numbers
from embedtune_trainer.rows.faults import Faults
from embedtune_trainer.rows.messages import listed
from embedtune_trainer.rows.records import Cell, Record, Stream, place

LABEL: Final = "finetuner_label"
SCORE: Final = "finetuner_score"
_PARTS_OF_A_DOC: Final = ("text", "bytes_", "url", "tensor", "embedding")


def open_documents(files: Sequence[Path], dataset: Dataset, faults: Faults) -> Stream:
    """Open a file of documents.

    A document of docarray 0.21 is an item with the tag finetuner_label, or has two chunks: a pair,
    with the tag finetuner_score, or a text and an image by their modality. The fields of a
    document of docarray 0.41 are columns by their names.

    Raises:
        BadData: it is no such file, or there are several.
    """
    if len(files) != 1:
        raise BadData(f"{dataset.uri}: holds {len(files)} files; name one")
    version, docs = decode(files[0].read_bytes(), dataset.uri)
    if not docs:
        raise BadData(f"{dataset.uri}: no rows: it holds no documents")
    names = _names_21(docs) if version == 21 else tuple(dict.fromkeys(n for d in docs for n in d))

    def records(columns: Sequence[int]) -> Iterator[Record]:
        wanted = [names[i] for i in columns]
        for row, doc in enumerate(docs, 1):
            if version == 41:
                yield Record([_field(doc.get(name)) for name in wanted], row)
                continue
            chunks = doc.get("chunks") or []
            if len(chunks) != (2 if len(names) > 1 and names[1] != LABEL else 0):
                faults.add(place(row, 0), f"has {len(chunks)} chunks, unlike the documents before")
                continue
            try:
                cells = _cells_21(doc, names)
            except ValueError as error:
                faults.add(place(row, 0), str(error))
            else:
                yield Record([cells[name] for name in wanted], row)

    return Stream(names, len(names), records, "documents")


def _names_21(docs: Sequence[Document]) -> tuple[str, ...]:
    """What the documents have, as names of columns."""
    tags = {name for doc in docs for name in doc.get("tags") or ()}
    tagged = tuple(name for name in (LABEL, SCORE) if name in tags)
    chunks = docs[0].get("chunks") or []
    if not chunks:
        return ("item", *tagged)
    if {chunk.get("modality") for chunk in chunks} == {"text", "image"}:
        return ("text", "image", *tagged)
    return ("anchor", "positive", *tagged)


def _cells_21(doc: Document, names: tuple[str, ...]) -> dict[str, Cell]:
    tags = doc.get("tags") or {}
    cells: dict[str, Cell] = {name: _tag(tags.get(name)) for name in (LABEL, SCORE)}
    chunks = doc.get("chunks") or []
    if names[0] == "item":
        return {**cells, "item": _content(doc)}
    if names[0] == "anchor":
        return {**cells, "anchor": _content(chunks[0]), "positive": _content(chunks[1])}
    by_modality = {chunk.get("modality"): _content(chunk) for chunk in chunks}
    if by_modality.keys() != {"text", "image"}:
        found = [str(chunk.get("modality")) for chunk in chunks]
        raise ValueError(f"its chunks' modalities are {listed(found)}, not text and image")
    return {**cells, **by_modality}


def _tag(value: Any) -> Cell:  # noqa: ANN401  what JSON can hold
    """Numbers as they were: docarray 0.21 saves 2 as 2.0, and in JSON 1 as true and 0 as false."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value  # type: ignore[no-any-return]


def _content(doc: Document) -> Cell:
    """A document's one content; its uri only if it has been loaded into nothing else."""
    if doc.get("text"):
        return doc["text"]  # type: ignore[no-any-return]
    for name in ("blob", "tensor"):
        if doc.get(name) is not None and len(doc[name]):
            return doc[name]  # type: ignore[no-any-return]
    if doc.get("uri"):
        return doc["uri"]  # type: ignore[no-any-return]
    return doc.get("embedding")


def _field(value: Any) -> Cell:  # noqa: ANN401  whatever a field holds
    """A field of a DocList's document; of a document within it, its content."""
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]
    for name in _PARTS_OF_A_DOC:
        part = value.get(name)
        if part is not None and len(part):
            if name == "bytes_" and isinstance(part, str):
                return base64.b64decode(part)
            if name == "tensor" and isinstance(part, list):
                return pixels_or_numbers(part)
            return part  # type: ignore[no-any-return]
    return None
