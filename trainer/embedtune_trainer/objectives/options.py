"""Options of losses and miners, checked against the types that declare them.

Each loss or miner declares its options as an ApiModel, so that a user's dictionary is refused by
name and with what would be accepted.
"""

from collections.abc import Mapping
from typing import TypeVar

from embedtune_api.base import ApiModel, InvalidJob
from embedtune_trainer.errors import BadSpec

T = TypeVar("T", bound=ApiModel)


def read_options(declared: type[T], given: Mapping[str, object], field: str) -> T:
    """The options as their type.

    Raises:
        BadSpec: with one line per wrong option, `FIELD.NAME: ...`, and the options there are.
    """
    try:
        return declared.parse(dict(given))
    except InvalidJob as error:
        lines = "\n".join(f"{field}.{line}" for line in str(error).splitlines())
        raise BadSpec(f"{lines}\n{field} takes: {_accepted(declared)}") from None


def names_of(declared: type[ApiModel]) -> set[str]:
    """What its options are called."""
    return {field.alias or name for name, field in declared.model_fields.items()}


def _accepted(declared: type[ApiModel]) -> str:
    fields = declared.model_fields.values()
    return "; ".join(f"{f.alias}: {' '.join((f.description or '').split())}" for f in fields)
