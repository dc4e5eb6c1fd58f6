"""Types of single fields: URIs, quantities, globs, and CEL rules that guard them.

The CEL rules stand beside the fields that they guard. Where a rule cannot be said in the schema's
own words (enum, bounds, pattern) it is said twice, as CEL for the API server and as a pydantic
validator for `embedtune run`, and tests/api holds both to the same cases.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from embedtune_api.quantity import parse_quantity


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """CEL rules as a schema extra: pairs of an expression and what to do when it is false."""
    return {
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]
    }


def _quantity(value: str | int) -> str | int:
    parse_quantity(value)
    return value


_NOT_FILE = (
    "!self.startsWith('file://')",
    "file:// is for `embedtune run` on your machine; a pod cannot see it, use s3://",
)
_BELOW = (
    "self.startsWith('file://') || !(self + '/').contains('/../')",
    "a URI says where it leads, without /../",
)


def _below(uri: str) -> str:
    if not uri.startswith("file://") and "/../" in f"{uri}/":
        raise ValueError(_BELOW[1])
    return uri


_S3 = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s]*)?"
_PVC = r"pvc://[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[^\s]+"
_REPOSITORY = r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?(@[A-Za-z0-9._/-]+)?"
_FILE = r"file://[^\s]+"


def _uri(*forms: str) -> Any:  # noqa: ANN401  what Annotated takes
    pattern = f"^({'|'.join(forms)})$"
    return Field(pattern=pattern, max_length=1024, json_schema_extra=cel(_NOT_FILE, _BELOW))


OutputUri = Annotated[str, _uri(_S3, _FILE), AfterValidator(_below)]
FileUri = Annotated[str, _uri(_S3, _PVC, _FILE), AfterValidator(_below)]
DataUri = Annotated[
    str,
    _uri(_S3, _PVC, rf"hf://datasets/{_REPOSITORY}(/[^\s]*)?", _FILE),
    AfterValidator(_below),
]
BackboneUri = Annotated[
    str,
    _uri(
        _S3,
        rf"hf://{_REPOSITORY}",
        r"(torchvision|timm)://[A-Za-z0-9_.-]+",
        r"mlp://[1-9][0-9]{0,5}",
        _PVC,
        _FILE,
    ),
    AfterValidator(_below),
]
Quantity = Annotated[
    str | int,
    AfterValidator(_quantity),
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "pattern": r"^([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)"
            r"(m|k|Ki|M|Mi|G|Gi|T|Ti)?$",
            "minimum": 1,
        }
    ),
]
DnsLabel = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
]
ObjectName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
]
ModuleGlob = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^\S+$")]
Option = str | bool | int | float
Options = Annotated[dict[str, Option], Field(max_length=32)]


def int_or_auto(least: int, most: int) -> tuple[BeforeValidator, FieldInfo]:
    """What Annotated takes for a whole number within these bounds, or the word auto."""

    def check(value: object) -> object:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if value == "auto" or (is_number and least <= value <= most):  # type: ignore[operator]
            return value
        raise ValueError(f"must be a whole number from {least} to {most}, or auto")

    schema = {
        "x-kubernetes-int-or-string": True,
        "pattern": "^auto$",
        "minimum": least,
        "maximum": most,
    }
    return BeforeValidator(check), Field(json_schema_extra=schema)  # type: ignore[arg-type]
