"""A job from a YAML file, read as kubectl reads it.

kubectl's YAML (sigs.k8s.io/yaml) is YAML 1.1 with the floats of 1.2: `2e-5` is a number, `no`,
`off` and `n` are false, dates and 1:30 are text. PyYAML alone has its own mind about all of them,
so only its parser is used here, and plain scalars are resolved by the same rules as in Go.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from embedtune_api import API_VERSION, KIND
from embedtune_api.base import InvalidJob
from embedtune_api.job import FineTuneJob
from embedtune_trainer.errors import BadSpec, SourceNotFound
from embedtune_trainer.objectives.metric_learning import refused

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"), True),
    **dict.fromkeys(("on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE"), False),
    **dict.fromkeys(("off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_INT = re.compile(r"([-+]?)(0[bB][01]+|0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNKNOWN_NAME = re.compile(r"\S*\.(?:loss|miner): .*\(got '(\w+)'\)")
_STRING_TAG = "tag:yaml.org,2002:str"


def read_job(path: Path) -> FineTuneJob:
    """The one FineTuneJob of a file.

    Raises:
        SourceNotFound: there is no such file.
        BadSpec: it is no FineTuneJob; one line per problem, with file, line and field.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceNotFound(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise BadSpec(f"{path}: not UTF-8 (byte {error.start})") from None
    return parse_job(text, str(path))


def with_s3_root(job: FineTuneJob, root: Path) -> FineTuneJob:
    """The job with ROOT/BUCKET/KEY for every s3://BUCKET/KEY, so that no S3 service is needed."""
    return FineTuneJob.parse(_rooted(job.trainer_input(), root.resolve().as_uri()))


def _rooted(value: Any, root: str) -> Any:  # noqa: ANN401  any part of a JSON document
    if isinstance(value, dict):
        return {key: _rooted(child, root) for key, child in value.items()}
    if isinstance(value, list):
        return [_rooted(child, root) for child in value]
    if isinstance(value, str) and value.startswith("s3://"):
        return f"{root}/{value.removeprefix('s3://')}"
    return value


def parse_job(text: str, name: str) -> FineTuneJob:
    """The one FineTuneJob of a YAML or JSON text.

    Args:
        text: the file's content.
        name: what to call the file in messages.

    Raises:
        BadSpec: see read_job.
    """
    reader = _Reader(name)
    data = reader.value(_only_document(text, name), "")
    if not isinstance(data, dict):
        raise BadSpec(f"{name}: holds no object; a FineTuneJob begins with apiVersion and kind")
    if data.get("kind") != KIND or data.get("apiVersion") != API_VERSION:
        raise BadSpec(
            f"{name}: holds {data.get('apiVersion')} {data.get('kind')},"
            f" only {API_VERSION} {KIND} can be run here"
        )
    try:
        return FineTuneJob.parse(data)
    except InvalidJob as error:
        lines = sorted((reader.line_of(problem), problem) for problem in str(error).splitlines())
        told = (f"{name}:{line}: {_with_reason(problem)}" for line, problem in lines)
        raise BadSpec("\n".join(told)) from None


def _with_reason(problem: str) -> str:
    """The problem, and, of a loss or miner that is known but cannot be trained with, why not."""
    unknown = _UNKNOWN_NAME.fullmatch(problem)
    why = refused.reason(unknown[1]) if unknown else None
    return problem if why is None else f"{problem}: it {why}"


def plain_value(text: str) -> Any:  # noqa: ANN401  any JSON scalar
    """What a scalar without quotes stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    number = text if text[0] == "." else text.replace("_", "")
    if match := _INT.fullmatch(number):
        return int(match[1] + "1") * _positive_int(match[2])
    if _FLOAT.fullmatch(number):
        value = float(number)
        return int(value) if value.is_integer() else value
    return text


def _positive_int(text: str) -> int:
    return int(text, 0) if not re.fullmatch(r"0[0-7]+", text) else int(text, 8)


def _only_document(text: str, name: str) -> yaml.Node:
    try:
        documents = [node for node in yaml.compose_all(text, yaml.BaseLoader) if not _empty(node)]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadSpec(f"{name}:{line}: not YAML: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise BadSpec(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    if not documents:
        raise BadSpec(f"{name}: is empty; a FineTuneJob begins with apiVersion and kind")
    if len(documents) > 1:
        raise BadSpec(
            f"{name}:{documents[1].start_mark.line + 1}: a second document begins here;"
            " one job runs at a time, so put each into a file of its own"
        )
    return documents[0]


def _empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.value


class _Reader:
    """Nodes to values, remembering the line of every field's path."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: dict[str, int] = {"": 1}
        self._open: list[yaml.Node] = []

    def line_of(self, message: str) -> int:
        """The line of the longest known path that a message begins with."""
        path = message.partition(":")[0]
        while path not in self._lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines[path]

    def value(self, node: yaml.Node, path: str) -> Any:  # noqa: ANN401  any JSON value
        """The node's value; its path is for messages."""
        self._lines.setdefault(path, node.start_mark.line + 1)
        if any(node is other for other in self._open):
            raise self._bad(node, "an alias that holds itself")
        self._open.append(node)
        try:
            return self._value(node, path)
        finally:
            self._open.pop()

    def _value(self, node: yaml.Node, path: str) -> Any:  # noqa: ANN401  any JSON value
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, f"{path}[{i}]") for i, child in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode) or node.tag != _STRING_TAG:
            raise self._bad(node, f"the tag {node.tag} is not used in Kubernetes' YAML")
        return plain_value(node.value) if node.style is None else node.value

    def _items(self, node: yaml.MappingNode, path: str) -> Iterator[tuple[str, Any]]:
        """Keys and values, merged ones (<<) first, so that a mapping's own go before them."""
        seen: set[str] = set()
        merged = [value for key, value in node.value if _is_merge(key)]
        for child in merged:
            for source in reversed(child.value) if _is_list(child) else [child]:
                if not isinstance(source, yaml.MappingNode):
                    raise self._bad(source, "only mappings can be merged by <<")
                yield from self.value(source, path).items()
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._bad(key_node, "a key is a word, not a list or a mapping")
            key = _key(key_node)
            if key in seen:
                raise self._bad(key_node, f"{path}.{key} is given twice".lstrip("."))
            seen.add(key)
            inner = f"{path}.{key}".lstrip(".")
            self._lines[inner] = key_node.start_mark.line + 1
            yield key, self.value(value_node, inner)

    def _bad(self, node: yaml.Node, problem: str) -> BadSpec:
        return BadSpec(f"{self._name}:{node.start_mark.line + 1}: {problem}")


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.style is None and key.value == "<<"


def _is_list(node: yaml.Node) -> bool:
    return isinstance(node, yaml.SequenceNode)


def _key(node: yaml.ScalarNode) -> str:
    """A key as a string; kubectl makes "true" of `on:`, too."""
    value = plain_value(node.value) if node.style is None else node.value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
