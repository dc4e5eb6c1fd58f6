"""Jobs with one thing wrong each, by walking the CRD's schema."""

import copy
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.schema import (
    REMOVE,
    JsonObject,
    Path,
    changed,
    dotted,
    extremes,
    fields,
    has,
    sample,
    valid_with,
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
    """A job and what is wrong with it."""

    path: Path
    how: str
    job: JsonObject

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.how}"


def mutants() -> Iterator[Mutant]:
    """All of them, in an order that never changes."""
    for path, node in fields():
        if path == ("spec",):
            yield from _of(path, "unknown field", valid_with(path), [{"nonsense": 1}])
            continue
        job = valid_with(path)
        yield Mutant(path, "missing", changed(job, path, REMOVE))
        yield from _of(path, "wrong type", job, _wrong_types(node))
        yield from _of(path, "out of range", job, _out_of_range(node))
        yield from _of(path, "huge", job, _huge(node))
        yield from _of(path, "hostile", job, _hostile(node))
        if "properties" in node:
            inside = job
            for part in path[:-1]:
                inside = inside[part]  # type: ignore[index]
            value = copy.deepcopy(inside[path[-1]])  # type: ignore[index]
            yield from _of(path, "unknown field", job, [value | {"nonsense": 1}])
    yield from _contradictions()


def _of(path: Path, how: str, job: JsonObject, values: Any) -> Iterator[Mutant]:
    for value in values:
        text = json.dumps(value)
        shown = text if len(text) < 40 else f"{text[:30]}... ({len(text)} characters)"
        if path == ("spec",):
            mutant = job | {"spec": job["spec"] | value}
        else:
            mutant = changed(job, path, value)
        yield Mutant(path, f"{how} {shown}", mutant)


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
        yield {f"key{n}": 1 for n in range(node["maxProperties"] + 1)}


def _huge(node: JsonObject) -> Iterator[Any]:
    kind = node.get("type", "integer")
    if kind in ("integer", "number"):
        yield from HUGE_NUMBERS
    if kind == "string" or node.get("x-kubernetes-int-or-string"):
        yield "9" * 100_000
    if kind == "array":
        yield [sample(node["items"])] * 20_000
    if kind == "object" and "properties" not in node:
        for depth in (200, 900):  # the API server lets 10,000 pass where no schema says otherwise
            deep: Any = 1
            for _ in range(depth):
                deep = {"a": deep}
            yield {"a": deep}
        yield {"a": "b" * 100_000}
        yield from ({"a": number} for number in HUGE_NUMBERS)


def _hostile(node: JsonObject) -> Iterator[Any]:
    if node.get("type") == "string" or node.get("x-kubernetes-int-or-string"):
        yield from HOSTILE
        if "enum" not in node:
            yield from (f"{sample(node)}{text}" for text in HOSTILE if text)
    if node.get("type") == "object" and "properties" not in node:
        yield from ({text: "a"} for text in HOSTILE)
        yield from ({"a": text} for text in HOSTILE)
        empty: tuple[Any, ...] = (None, [], {}, [[1]])
        yield from ({"a": value} for value in empty)


def _contradictions() -> Iterator[Mutant]:
    """Each two fields that one rule is about, each absent, at its least and at its most."""
    for path, node in fields():
        for rule in node.get("x-kubernetes-validations", ()):
            if "oldSelf" in rule["rule"] or "properties" not in node:
                continue
            spoken = dict.fromkeys(_spoken_of(rule["rule"], node))
            for one, two in itertools.combinations(spoken, 2):
                yield from _pairs(path, node, one, two)


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
    path: Path, node: JsonObject, one: tuple[str, ...], two: tuple[str, ...]
) -> Iterator[Mutant]:
    job = valid_with(path)
    states = itertools.product(_states(node, one), _states(node, two))
    for (first, first_name), (second, second_name) in states:
        mutant = job
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
