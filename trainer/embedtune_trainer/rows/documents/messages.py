"""The protobuf messages of docarray 0.21 and 0.41, as far as they are read.

The descriptors are built here from the field numbers of docarray's own docarray.proto. A map is
read as what it is on the wire, a repeated message of key and value.
"""

from functools import cache
from typing import Any, Final

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    struct_pb2,
)

_KIND: Final = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _KIND.TYPE_STRING,
    "bytes": _KIND.TYPE_BYTES,
    "uint32": _KIND.TYPE_UINT32,
    "int32": _KIND.TYPE_INT32,
    "double": _KIND.TYPE_DOUBLE,
    "bool": _KIND.TYPE_BOOL,
}
_STRUCT: Final = "google.protobuf.Struct"
_ARRAY: Final = {"buffer": (1, "bytes"), "shape": (2, "*uint32"), "dtype": (3, "string")}
Fields = dict[str, tuple[int, str]]
"""Number and type by name; * is repeated, ? has presence."""

V21: Final[dict[str, Fields]] = {
    "Dense": _ARRAY,
    "NdArray": {"dense": (1, "Dense"), "sparse": (2, "Sparse")},
    "Sparse": {"shape": (3, "*uint32")},
    "Document": {
        "id": (1, "string"),
        "blob": (2, "?bytes"),
        "tensor": (3, "NdArray"),
        "text": (4, "?string"),
        "uri": (9, "string"),
        "modality": (10, "string"),
        "chunks": (14, "*Document"),
        "embedding": (16, "NdArray"),
        "tags": (17, _STRUCT),
    },
    "Array": {"docs": (1, "*Document")},
}
V41: Final[dict[str, Fields]] = {
    "Dense": _ARRAY,
    "NdArray": {"dense": (1, "Dense")},
    "Node": {
        "text": (1, "?string"),
        "integer": (2, "?int32"),
        "float": (3, "?double"),
        "boolean": (4, "?bool"),
        "blob": (5, "?bytes"),
        "ndarray": (6, "NdArray"),
        "doc": (7, "Document"),
        "list": (9, "List"),
        "set": (10, "List"),
        "tuple": (11, "List"),
    },
    "List": {"data": (1, "*Node")},
    "Entry": {"key": (1, "string"), "value": (2, "Node")},
    "Document": {"data": (1, "*Entry")},
    "Array": {"docs": (1, "*Document")},
}


@cache
def message_class(version: int, name: str) -> Any:  # noqa: ANN401  made at run time
    """The class of a message of docarray 0.21 or 0.41."""
    package = f"docarray{version}"
    pool = _pool(version, package)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


@cache
def _pool(version: int, package: str) -> Any:  # noqa: ANN401  protobuf has no types
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto",
        package=package,
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    for name, fields in (V21 if version == 21 else V41).items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, field, number, kind, package)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return pool


def _add_field(message: Any, name: str, number: int, kind: str, package: str) -> None:  # noqa: ANN401
    repeated, optional = kind.startswith("*"), kind.startswith("?")
    kind = kind.lstrip("*?")
    field = message.field.add(
        name=name,
        number=number,
        label=_KIND.LABEL_REPEATED if repeated else _KIND.LABEL_OPTIONAL,
        type=_SCALARS.get(kind, _KIND.TYPE_MESSAGE),
    )
    if kind not in _SCALARS:
        field.type_name = f".{kind}" if kind == _STRUCT else f".{package}.{kind}"
    if optional:
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
