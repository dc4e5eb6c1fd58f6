"""Options of optimizers and schedulers, checked against their defaults."""

from collections.abc import Mapping

from embedtune_trainer.errors import BadSpec


def check_options(
    defaults: Mapping[str, float], given: Mapping[str, object], field: str, owner: str
) -> dict[str, float]:
    """The given options, each of its default's type, in place of the defaults.

    Args:
        defaults: all there are; a bool's default takes a bool, a number's a number.
        given: what the user wrote.
        field: in the spec.
        owner: whose options they are.

    Raises:
        BadSpec: one that there is not, or of another type; the message lists those there are.
    """
    told = ", ".join(f"{name} (default {_json(value)})" for name, value in defaults.items())
    has = f"{owner} takes {told or 'no options'}"
    for name, value in given.items():
        if name not in defaults:
            raise BadSpec(f"{field}.{name}: unknown option; {has}")
        wants_bool = isinstance(defaults[name], bool)
        fits = isinstance(value, bool) if wants_bool else _is_number(value)
        if not fits:
            kind = "true or false" if wants_bool else "a number"
            raise BadSpec(f"{field}.{name}: must be {kind} (got {value!r}); {has}")
    return {**defaults, **given}  # type: ignore[dict-item]  # checked above


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
