"""Documents with one thing wrong each, by walking the CRD's schema."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.schema import (
    ANY,
    REMOVE,
    JsonObject,
    Kind,
    Path,
    at,
    changed,
    dotted,
    extremes,
    has,
    sample,
)

TYPES: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": 7,
    "number": 0.5,
    "string": "text",
    "array": [],
    "object": {},
}
HUGE_NUMBERS = (2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**30, 1e308, -(2**63), -1e308)
HOSTILE = (
    "\x00",
    "\ud800",  # half of a surrogate pair
    "a\u202eb",  # turns the direction of writing
    "a\u200bb",  # a blank of no width
    "\ufeffa",
    "e\u0301" * 40,
    "\N{PILE OF POO}",
    "a\r\nb: c",
    "\x1b[31m",
    "$(reboot); `reboot` | ${IFS}",
    "{{ .Values }} %s%n %(a)s {0}",
    "../../etc/passwd",
    "-rf",
    " ",
    "",
)


@dataclass(frozen=True)
class Mutant:
    """A document and what is wrong with it."""

    path: Path
    how: str
    document: JsonObject

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.how}"


def mutants(kind: Kind) -> Iterator[Mutant]:
    """All of a kind, in an order that never changes."""
    for path, node in kind.fields():
        valid = kind.valid_with(path)
        if path == ("spec",):
            nonsense = {"nonsense": 1}
            how = f"unknown field {json.dumps(nonsense)}"
            yield Mutant(path, how, valid | {"spec": valid["spec"] | nonsense})
            continue
        yield Mutant(path, "missing", changed(valid, path, REMOVE))
        present = at(valid, path)
        yield from _of(path, "wrong type", valid, _wrong_types(node))
        yield from _of(path, "out of range", valid, _out_of_range(node))
        yield from _of(path, "huge", valid, _huge(node))
        yield from _of(path, "hostile", valid, _hostile(node, present))
        if "properties" in node:
            yield from _of(path, "unknown field", valid, [present | {"nonsense": 1}])
        if kind.twice and node.get("items", {}).get("type") == "object":
            yield from _of(path, "twice", valid, [[present[0], *present]])
    yield from _contradictions(kind)


def _of(path: Path, how: str, valid: JsonObject, values: Iterable[Any]) -> Iterator[Mutant]:
    for value in values:
        text = json.dumps(value)
        shown = text if len(text) < 40 else f"{text[:30]}... ({len(text)} characters)"
        yield Mutant(path, f"{how} {shown}", changed(valid, path, value))


def _wrong_types(node: JsonObject) -> Iterator[Any]:
    kind = node.get("type", "integer")
    own = {kind, "integer"} if kind == "number" else {kind}
    if node.get("x-kubernetes-int-or-string"):
        own = {"integer", "string"}
    yield from (value for name, value in TYPES.items() if name not in own)


def _out_of_range(node: JsonObject) -> Iterator[Any]:
    """Just outside of what the node's own words allow."""
    for bound, by in (("minimum", -1), ("maximum", 1)):
        if bound in node:
            exclusive = node.get(f"exclusive{bound.capitalize()}")
            yield node[bound] if exclusive else node[bound] + by
    if "enum" in node:
        yield f"{node['enum'][0]}x"
        yield str(node["enum"][0]).swapcase()
    elif node.get("type") == "string":
        yield "a" * (node["maxLength"] + 1)
    if node.get("type") == "array":
        one = sample(node["items"])
        yield [one] * (node["maxItems"] + 1)
        if node.get("minItems"):
            yield []
    if "maxProperties" in node:
        yield {f"key{n}": _held(node, 1) for n in range(node["maxProperties"] + 1)}


def _huge(node: JsonObject) -> Iterator[Any]:
    kind = node.get("type", "integer")
    if kind in ("integer", "number"):
        yield from HUGE_NUMBERS
    if kind == "string" or node.get("x-kubernetes-int-or-string"):
        yield "9" * 100_000
    if kind == "array":
        yield [sample(node["items"])] * 20_000
    if kind == "object" and "properties" not in node:
        # the API server lets 10,000 pass where no schema says otherwise; 200 are more than is read
        for depth in (*(range(190, 200) if node.get(ANY) else ()), 200, 900):
            deep: Any = 1
            for _ in range(depth):
                deep = {"a": deep}
            yield {"a": deep}
        yield {"a": "b" * 100_000}
        yield from ({"a": number} for number in HUGE_NUMBERS)


def _hostile(node: JsonObject, present: Any) -> Iterator[Any]:
    if node.get("type") == "string" or node.get("x-kubernetes-int-or-string"):
        yield from HOSTILE
        if "enum" not in node:
            yield from (f"{sample(node)}{text}" for text in HOSTILE if text)
    if node.get("type") == "object" and "properties" not in node:
        others = present if "properties" in node.get("additionalProperties", {}) else {}
        yield from (others | {text: _held(node, "a")} for text in HOSTILE)
        yield from ({"a": text} for text in HOSTILE)
        empty: tuple[Any, ...] = (None, [], {}, [[1]])
        yield from ({"a": value} for value in empty)


def _held(node: JsonObject, otherwise: Any) -> Any:
    """What a map may hold: a value of its type, if it has one."""
    values = node.get("additionalProperties", {})
    return sample(values) if "type" in values else otherwise


def _contradictions(kind: Kind) -> Iterator[Mutant]:
    """Each two fields that one rule is about, each absent, at its least and at its most."""
    for path, node in kind.fields():
        for rule in node.get("x-kubernetes-validations", ()):
            if "oldSelf" in rule["rule"] or "properties" not in node:
                continue
            spoken = dict.fromkeys(_spoken_of(rule["rule"], node))
            for one, two in itertools.combinations(spoken, 2):
                yield from _pairs(kind.valid_with(path), path, node, one, two)


def _spoken_of(rule: str, node: JsonObject) -> Iterator[tuple[str, ...]]:
    for words in re.findall(r"self((?:\.\w+)+)", rule):
        names: list[str] = []
        inner = node
        for name in words.strip(".").split("."):
            if name not in inner.get("properties", {}):
                break
            names.append(name)
            inner = inner["properties"][name]
        if names:
            yield tuple(names)


def _pairs(
    valid: JsonObject, path: Path, node: JsonObject, one: tuple[str, ...], two: tuple[str, ...]
) -> Iterator[Mutant]:
    states = itertools.product(_states(node, one), _states(node, two))
    for (first, first_name), (second, second_name) in states:
        mutant = valid
        for names, value in ((one, first), (two, second)):
            for end in range(len(path), len(path) + len(names)):
                place = (*path, *names)[:end]
                if not has(mutant, place):
                    mutant = changed(mutant, place, {})
            mutant = changed(mutant, (*path, *names), value)
        how = f"{'.'.join(one)} {first_name} and {'.'.join(two)} {second_name}"
        yield Mutant(path, how, mutant)


def _states(node: JsonObject, names: tuple[str, ...]) -> list[tuple[Any, str]]:
    for name in names:
        node = node["properties"][name]
    least, most = extremes(node)
    return [(REMOVE, "absent"), (least, "at its least"), (most, "at its most")]
