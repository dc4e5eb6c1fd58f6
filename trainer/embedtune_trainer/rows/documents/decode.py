"""A saved DocumentArray's bytes as plain objects: what `json` would give for each document."""

import base64
import binascii
import json
from typing import Any, Final, Literal

import numpy as np
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.documents.container import unpack
from embedtune_trainer.rows.documents.messages import message_class

Version = Literal[21, 41]
Document = dict[str, Any]

_FIELDS_21: Final = {
    *("id", "parent_id", "granularity", "adjacency", "blob", "tensor", "mime_type", "text"),
    *("weight", "uri", "tags", "offset", "location", "embedding", "modality", "evaluations"),
    *("scores", "chunks", "matches", "_metadata", "parentId", "mimeType", "Metadata"),
}


def decode(data: bytes, source: str) -> tuple[Version, list[Document]]:
    """The documents of a file, and which docarray wrote it.

    Raises:
        BadData: it is none that docarray saved as JSON or protobuf.
    """
    container = unpack(data, source)
    try:
        if container.kind == "json":
            return _from_json(container.parts[0])
        if container.kind == "array":
            return _from_array(container.parts[0])
        return _from_messages(container.parts)
    except (DecodeError, ValueError, TypeError, KeyError, binascii.Error) as error:
        raise BadData(
            f"{source}: is no DocumentArray that docarray saved as JSON or protobuf: {error}"
        ) from None


def _from_json(data: bytes) -> tuple[Version, list[Document]]:
    docs = json.loads(data)
    if not all(isinstance(doc, dict) for doc in docs):
        raise ValueError("the list holds something else than objects")
    if all(doc.keys() <= _FIELDS_21 for doc in docs):
        return 21, [_plain_21(doc) for doc in docs]
    return 41, docs


def _plain_21(doc: Document) -> Document:
    out = dict(doc)
    if isinstance(doc.get("blob"), str):
        out["blob"] = base64.b64decode(doc["blob"])
    for name in ("tensor", "embedding"):
        if isinstance(doc.get(name), dict):
            dense = doc[name]["dense"]
            data = base64.b64decode(dense["buffer"])
            out[name] = _array(data, dense["dtype"], dense["shape"])
        elif doc.get(name) is not None:
            out[name] = pixels_or_numbers(doc[name])
    out["chunks"] = [_plain_21(chunk) for chunk in doc.get("chunks") or ()]
    return out


def pixels_or_numbers(values: list[Any]) -> NDArray[np.generic]:
    """A tensor out of JSON, which has lost its type.

    Whole numbers from 0 to 255 in three dimensions are pixels.
    """
    array = np.asarray(values)
    if array.ndim == 3 and array.dtype.kind == "i" and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    return array


def _from_array(data: bytes) -> tuple[Version, list[Document]]:
    for version in (41, 21):
        try:
            message = message_class(version, "Array").FromString(data)
        except DecodeError:
            if version == 21:
                raise
            continue
        if version == 21:
            return 21, [_document_21(doc) for doc in message.docs]
        docs = [_document_41(doc) for doc in message.docs]
        if docs and all("id" in doc for doc in docs):
            return 41, docs
    raise ValueError("it holds no documents")


def _from_messages(parts: list[bytes]) -> tuple[Version, list[Document]]:
    try:
        docs = [_document_41(message_class(41, "Document").FromString(part)) for part in parts]
    except DecodeError:
        docs = []
    if docs and all("id" in doc for doc in docs):
        return 41, docs
    return 21, [_document_21(message_class(21, "Document").FromString(part)) for part in parts]


def _document_21(message: Any) -> Document:  # noqa: ANN401  made at run time
    out: Document = {"uri": message.uri, "modality": message.modality}
    for name in ("text", "blob"):
        if message.HasField(name):
            out[name] = getattr(message, name)
    for name in ("tensor", "embedding"):
        if message.HasField(name):
            out[name] = _ndarray(getattr(message, name))
    out["tags"] = json_format.MessageToDict(message.tags)
    out["chunks"] = [_document_21(chunk) for chunk in message.chunks]
    return out


def _ndarray(message: Any) -> NDArray[np.generic]:  # noqa: ANN401  made at run time
    if not message.HasField("dense"):
        raise ValueError("a tensor is sparse; save it dense")
    return _array(message.dense.buffer, message.dense.dtype, message.dense.shape)


def _document_41(message: Any) -> Document:  # noqa: ANN401  made at run time
    return {entry.key: _node(entry.value) for entry in message.data if entry.key}


def _node(message: Any) -> Any:  # noqa: ANN401  whatever a field holds
    for descriptor, value in message.ListFields():
        name = descriptor.name
        if name == "ndarray":
            return _ndarray(value)
        if name == "doc":
            return _document_41(value)
        if name in ("list", "set", "tuple"):
            return [_node(node) for node in value.data]
        return value
    return None


def _array(data: bytes, dtype: str, shape: Any) -> NDArray[np.generic]:  # noqa: ANN401
    kind = np.dtype(dtype)
    if kind.kind not in "fiub":
        raise ValueError(f"a tensor is of {dtype}; numbers are wanted")
    return np.frombuffer(data, dtype=kind).reshape(tuple(shape))
