"""The CRD's schema as the fault tests walk it: a new field is tried without being listed."""

import copy
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import yaml
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from embedtune_api.base import InvalidJob
from embedtune_api.job import FineTuneJob
from tests.api.cases import ACCEPTED, MINIMAL
from tests.conftest import ROOT

JsonObject = dict[str, Any]
Path = tuple[str | int, ...]
REMOVE = object()
_VERSION = yaml.safe_load((ROOT / "crds/embedtune.dev_finetunejobs.yaml").read_text())["spec"][
    "versions"
][0]
SPEC: JsonObject = _VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]


def fields(node: JsonObject = SPEC, path: Path = ("spec",)) -> Iterator[tuple[Path, JsonObject]]:
    """Every field of the spec with its node; of a list, its first item."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from fields(child, (*path, name))
    if "items" in node:
        yield from fields(node["items"], (*path, 0))


def dotted(path: Path) -> str:
    """A path as messages have it."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def changed(document: JsonObject, path: Path, value: Any) -> JsonObject:
    """A copy with something else in a place whose parent is there."""
    document = copy.deepcopy(document)
    node: Any = document
    for key in path[:-1]:
        node = node[key]
    if value is not REMOVE:
        node[path[-1]] = value
    elif isinstance(node, list):
        node.pop(int(path[-1]))
    else:
        node.pop(path[-1], None)
    return document


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


def node_at(path: Path) -> JsonObject:
    """The schema of a place."""
    node = SPEC
    for key in path[1:]:
        node = node["items"] if isinstance(key, int) else node["properties"][key]
    return node


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


@cache
def _donors() -> list[JsonObject]:
    return [MINIMAL, *(case.job() for case in ACCEPTED)]


def valid_with(path: Path) -> JsonObject:
    """A valid job that has this field.

    Raises:
        LookupError: none is known.
    """
    donors = sorted(_donors(), key=lambda job: not has(job, path))
    for donor in donors:
        job = donor
        for end in range(2, len(path) + 1):
            if not has(job, path[:end]):
                job = changed(job, path[:end], sample(node_at(path[:end])))
        try:
            FineTuneJob.parse(job)
        except InvalidJob:
            continue
        return job
    raise LookupError(f"no valid job has {dotted(path)}: add one to ACCEPTED in tests/api/cases.py")


def changeable(node: JsonObject = SPEC, path: Path = ("spec",)) -> list[Path]:
    """The fields that no rule of the CRD holds fixed, as deep as the rules look."""
    rules = " ".join(rule["rule"] for rule in SPEC.get("x-kubernetes-validations", ()))
    fixed = set(re.findall(r"self\.([\w.]+) == oldSelf\.\1(?![\w.])", rules))
    found: list[Path] = []
    for name, child in node["properties"].items():
        place = (*path, name)
        words = dotted(place).removeprefix("spec.")
        if words in fixed:
            continue
        if any(f.startswith(f"{words}.") for f in fixed):
            found += changeable(child, place)
        else:
            found.append(place)
    return found
