"""The CRDs' schemas as the fault tests walk them: a new field is tried without being listed."""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from embedtune_api.base import InvalidJob
from embedtune_api.runtime import plural_of
from tests.conftest import ROOT

JsonObject = dict[str, Any]
Path = tuple[str | int, ...]
REMOVE = object()
ANY = "x-kubernetes-preserve-unknown-fields"


class Item(str):
    """A key that a user has made up, and so no field's name."""


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind whose spec's schema is walked."""

    name: str
    spec: JsonObject
    """The schema."""
    donors: tuple[JsonObject, ...]
    """Valid documents which between them have what no sample of a single field can have."""
    donors_at: str
    """Where another donor is to be put."""
    parse: Callable[[JsonObject], object]
    """Reads a document as the operator does, or raises InvalidJob."""
    item: Item = field(default_factory=Item)
    """What the donors call one item of a map of objects."""
    twice: bool = False
    """Whether lists of objects are tried with their first item twice, which no schema forbids."""

    def fields(self) -> Iterator[tuple[Path, JsonObject]]:
        """Every field of the spec with its node; of a list its first item, of a map one."""
        yield from self._fields(self.spec, ("spec",))

    def _fields(self, node: JsonObject, path: Path) -> Iterator[tuple[Path, JsonObject]]:
        yield path, node
        for name, child in self._inside(node).items():
            yield from self._fields(child, (*path, name))

    def _inside(self, node: JsonObject) -> dict[str | int, JsonObject]:
        inside: dict[str | int, JsonObject] = dict(node.get("properties", {}))
        if "items" in node:
            inside[0] = node["items"]
        if "properties" in node.get("additionalProperties", {}):
            inside[self.item] = node["additionalProperties"]
        return inside

    def node_at(self, path: Path) -> JsonObject:
        """The schema of a place."""
        node = self.spec
        for key in path[1:]:
            node = self._inside(node)[key]
        return node

    def parses(self, document: JsonObject) -> bool:
        """Whether the API types read it."""
        try:
            self.parse(document)
        except InvalidJob:
            return False
        return True

    def valid_with(self, path: Path) -> JsonObject:
        """A valid document that has this field.

        Raises:
            LookupError: none is known.
        """
        for donor in sorted(self.donors, key=lambda document: not has(document, path)):
            document = donor
            for end in range(2, len(path) + 1):
                if not has(document, path[:end]):
                    document = changed(document, path[:end], sample(self.node_at(path[:end])))
            if self.parses(document):
                return document
        raise LookupError(f"no valid {self.name} has {dotted(path)}: add one to {self.donors_at}")

    def changeable(self) -> list[Path]:
        """The fields that no rule of the CRD holds fixed, as deep as the rules look."""
        rules = " ".join(rule["rule"] for rule in self.spec.get("x-kubernetes-validations", ()))
        fixed = set(re.findall(r"self\.([\w.]+) == oldSelf\.\1(?![\w.])", rules))
        return _changeable(self.spec, ("spec",), fixed)


def spec_of(kind: str) -> JsonObject:
    """The schema of a kind's spec, as its CRD has it."""
    crd = yaml.safe_load((ROOT / f"crds/embedtune.dev_{plural_of(kind)}.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    found: JsonObject = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def _changeable(node: JsonObject, path: Path, fixed: set[str]) -> list[Path]:
    found: list[Path] = []
    for name, child in node["properties"].items():
        place = (*path, name)
        words = dotted(place).removeprefix("spec.")
        if words in fixed:
            continue
        if any(f.startswith(f"{words}.") for f in fixed):
            found += _changeable(child, place, fixed)
        else:
            found.append(place)
    return found


def dotted(path: Path) -> str:
    """A path as messages have it."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def changed(document: JsonObject, path: Path, value: Any) -> JsonObject:
    """A copy with something else in a place whose parent is there."""
    document = copy.deepcopy(document)
    node = at(document, path[:-1])
    if value is not REMOVE:
        node[path[-1]] = value
    elif isinstance(node, list):
        node.pop(int(path[-1]))
    else:
        node.pop(path[-1], None)
    return document


def at(document: JsonObject, path: Path) -> Any:
    """What is in a place."""
    node: Any = document
    for key in path:
        node = node[key]
    return node


def has(document: JsonObject, path: Path) -> bool:
    """Whether something is in a place."""
    node: Any = document
    for key in path:
        if isinstance(key, int):
            if not isinstance(node, list) or len(node) <= key:
                return False
        elif not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True


def sample(node: JsonObject) -> Any:
    """A value that this node allows, small and always the same."""
    if node.get("default") not in (None, {}, []):
        return node["default"]
    if "enum" in node:
        return node["enum"][0]
    if node.get("x-kubernetes-int-or-string"):
        return node.get("minimum", 1)
    return _SAMPLES[node["type"]](node)


def _object(node: JsonObject) -> JsonObject:
    return {name: sample(node["properties"][name]) for name in node.get("required", ())}


def _array(node: JsonObject) -> list[Any]:
    return [sample(node["items"])] * max(1, node.get("minItems", 0))


def _text(node: JsonObject) -> str:
    rules = " ".join(rule["rule"] for rule in node.get("x-kubernetes-validations", ()))
    barred = tuple(re.findall(r"!self\.startsWith\('([^']+)'\)", rules))
    return _shortest(node.get("pattern", "a+"), node.get("minLength", 0), barred)


@cache
def _shortest(pattern: str, least: int, barred: tuple[str, ...]) -> str:
    quiet = settings(database=None, derandomize=True, phases=(Phase.generate, Phase.shrink))
    allowed = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
    return find(allowed, lambda v: len(v) >= least and not v.startswith(barred), settings=quiet)


def extremes(node: JsonObject) -> tuple[Any, Any]:
    """The least and the most that this node allows by its own words."""
    if "enum" in node:
        return node["enum"][0], node["enum"][-1]
    kind = node.get("type", "integer")
    if kind == "boolean":
        return False, True
    if kind in ("integer", "number"):
        step: Any = 1 if kind == "integer" else 1e-6
        low = node.get("minimum", 0) + (step if node.get("exclusiveMinimum") else 0)
        high = node.get("maximum", 2**31 - 1) - (step if node.get("exclusiveMaximum") else 0)
        return low, high
    if kind == "array":
        one = sample(node["items"])
        return [one] * node.get("minItems", 0), [one] * node.get("maxItems", 3)
    if kind == "object":
        return sample(node), {name: sample(child) for name, child in _own(node)}
    return sample(node), sample(node)


_SAMPLES: dict[str, Callable[[JsonObject], Any]] = {
    "object": _object,
    "array": _array,
    "string": _text,
    "boolean": lambda _node: True,
    "integer": lambda node: extremes(node)[0],
    "number": lambda node: extremes(node)[0],
}


def _own(node: JsonObject) -> list[tuple[str, JsonObject]]:
    return list(node.get("properties", {}).items())
