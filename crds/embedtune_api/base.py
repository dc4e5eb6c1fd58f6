"""The base of all API types: how a Python field becomes a JSON field, and how input is parsed."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

NAMED_MAX = 8
"""Parts of a path that are named where what is there cannot be read."""


class InvalidJob(ValueError):
    """A FineTuneJob that does not parse; the message names every wrong field by its path."""


class ApiModel(BaseModel):
    """A frozen API type: camelCase in JSON, unknown fields refused, types not coerced.

    A field's docstring is its description in `kubectl explain`, so it states unit and default.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Read one object as the API server would.

        Raises:
            InvalidJob: with one line per wrong field, `spec.training.epochs: ...`.
        """
        try:
            return cls.model_validate_json(json.dumps(data))
        except ValidationError as error:
            errors = error.errors()
            if errors[0]["type"] == "json_invalid":
                raise InvalidJob(f"{_deepest(data)}: nested too deeply to be read") from None
            raise InvalidJob("\n".join(_line(e) for e in errors)) from None
        except RecursionError:
            raise InvalidJob(f"{_deepest(data)}: nested too deeply to be read") from None
        except (TypeError, ValueError) as error:
            raise InvalidJob(f"not representable as JSON: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, without fields that are unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _deepest(data: Mapping[str, Any]) -> str:
    """The field with the deepest value, by so much of its path as leads to any field of ours."""
    *_, last = levels(data)
    return _dotted(last[-1][0])


def levels(data: object) -> Iterator[list[tuple[tuple[str | int, ...], Any]]]:
    """What is in a nested object, level by level, without recursion.

    Yields:
        Of each level its values, each with so much of its path as leads
        to any field of ours.
    """
    level: list[tuple[tuple[str | int, ...], Any]] = [((), data)]
    while level:
        yield level
        level = [((*path, key)[:NAMED_MAX], v) for path, node in level for key, v in _inside(node)]


def _dotted(path: Iterable[str | int]) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def _inside(node: object) -> Iterable[tuple[Any, Any]]:
    if isinstance(node, Mapping):
        return node.items()
    return enumerate(node) if isinstance(node, list | tuple) else ()


def _line(error: ErrorDetails) -> str:
    path = _dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown field"
    if error["type"] == "missing":
        return f"{path}: required field is missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{path}: {message} (got {error['input']!r})" if path else message
