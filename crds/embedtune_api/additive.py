"""What of a schema's change could harm the jobs that the schema before let in.

A new version may accept more and know more fields. It must not refuse, cut off or read differently
what is stored in a cluster already, since the CRD is upgraded under running jobs.
"""

from collections.abc import Iterator
from typing import Any

JsonObject = dict[str, Any]

_UPPER = ("maximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "minLength", "minItems")
_SAME = ("type", "default", "x-kubernetes-int-or-string", "x-kubernetes-list-type")
_RULES = "x-kubernetes-validations"
_UNKNOWN = "x-kubernetes-preserve-unknown-fields"


def harms(old: JsonObject, new: JsonObject, path: str = "") -> Iterator[str]:
    """Every change between two structural schemas that is not additive, as `path: what`."""
    for key in _SAME:
        if old.get(key) != new.get(key):
            yield f"{path}: {key} was {old.get(key)!r} and is {new.get(key)!r}"
    yield from (f"{path}: {what}" for what in _narrowed(old, new))
    if old.get(_UNKNOWN) and not new.get(_UNKNOWN):
        yield f"{path}: other fields are cut off"
    known: JsonObject = new.get("properties", {})
    for name, child in old.get("properties", {}).items():
        if name in known:
            yield from harms(child, known[name], f"{path}.{name}")
        elif not new.get(_UNKNOWN):
            yield f"{path}.{name}: is gone"
    for key, label in (("items", "[]"), ("additionalProperties", "{}")):
        if key in old:
            yield from harms(old[key], new.get(key, {}), f"{path}{label}")


def _narrowed(old: JsonObject, new: JsonObject) -> Iterator[str]:
    """What one node lets in no more, its children aside."""
    yield from _bounds(old, new)
    if "enum" in new and "enum" not in old:
        yield "has an enum now"
    elif "enum" in new and (lacking := set(old["enum"]) - set(new["enum"])):
        yield f"enum lacks {sorted(lacking)}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"pattern was {old.get('pattern')!r} and is {new['pattern']!r}"
    for name in set(new.get("required", ())) - set(old.get("required", ())):
        if "default" not in new["properties"][name]:
            yield f"{name} is required now"
    before, after = ({rule["rule"] for rule in node.get(_RULES, ())} for node in (old, new))
    yield from (f"has the rule {rule!r} now" for rule in sorted(after - before))


def _bounds(old: JsonObject, new: JsonObject) -> Iterator[str]:
    for keys, sign in ((_UPPER, 1), (_LOWER, -1)):
        for key in keys:
            if key in new and (key not in old or sign * new[key] < sign * old[key]):
                yield f"{key} was {old.get(key)} and is {new[key]}"
