"""A new CRD may let in more than the one before, never less."""

import copy
import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedtune_api.additive import harms
from embedtune_api.schema import custom_resource_definition
from localcluster import released

Schema = dict[str, Any]
GENERATE = Path(__file__).resolve().parents[2] / "crds/generate.py"
CRD = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def at(schema: Schema, path: str) -> Schema:
    for name in path.split("."):
        schema = schema["properties"][name]
    return schema


def changed(path: str, change: Callable[[Schema], Any]) -> list[str]:
    """What is wrong with the CRD after a change of one of its nodes."""
    new = copy.deepcopy(CRD)
    change(at(new, path))
    return list(harms(CRD, new))


def test_no_change_is_no_harm() -> None:
    assert list(harms(CRD, CRD)) == []


HARMFUL: dict[str, tuple[str, Callable[[Schema], Any], str]] = {
    "a field goes": (
        "spec.training",
        lambda n: n["properties"].pop("epochs"),
        ".spec.training.epochs: is gone",
    ),
    "a type": (
        "spec.training.epochs",
        lambda n: n.update(type="string"),
        "type was 'integer' and is 'string'",
    ),
    "a default": (
        "spec.training.epochs",
        lambda n: n.update(default=7),
        "default was 5 and is 7",
    ),
    "a lower maximum": (
        "spec.training.seed",
        lambda n: n.update(maximum=9),
        "maximum was 2147483647 and is 9",
    ),
    "a higher minimum": (
        "spec.training.epochs",
        lambda n: n.update(minimum=2),
        "minimum was 1 and is 2",
    ),
    "a new bound": (
        "spec.suspend",
        lambda n: n.update(maxLength=2),
        "maxLength was None and is 2",
    ),
    "a word less": (
        "spec.runPolicy.ttlPolicy",
        lambda n: n["enum"].remove("job"),
        "enum lacks ['job']",
    ),
    "words where there were none": (
        "spec.output.uri",
        lambda n: n.update(enum=["s3://a"]),
        ".spec.output.uri: has an enum now",
    ),
    "another pattern": (
        "spec.output.uri",
        lambda n: n.update(pattern="^s3"),
        "and is '^s3'",
    ),
    "a field that must be given": (
        "spec",
        lambda n: n["required"].append("storage") or n["properties"]["storage"].pop("default"),
        ".spec: storage is required now",
    ),
    "a new rule": (
        "spec.storage",
        lambda n: n.update({"x-kubernetes-validations": [{"rule": "has(self.region)"}]}),
        "has the rule 'has(self.region)' now",
    ),
    "deep in a list": (
        "spec.data.mix",
        lambda n: n["items"]["properties"].pop("weight"),
        ".spec.data.mix[].weight: is gone",
    ),
    "the status": (
        "status.restarts",
        lambda n: n.update(type="string"),
        ".status.restarts: type",
    ),
}


@pytest.mark.parametrize("case", HARMFUL)
def test_harm_is_found_and_named(case: str) -> None:
    path, change, says = HARMFUL[case]
    assert any(says in harm for harm in changed(path, change)), changed(path, change)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("spec", lambda n: n["properties"].update(new={"type": "string"})),
        ("spec", lambda n: n["required"].remove("data")),
        ("spec.training.seed", lambda n: n.pop("maximum")),
        ("spec.training.epochs", lambda n: n.update(maximum=n["maximum"] + 1)),
        ("spec.runPolicy.ttlPolicy", lambda n: n["enum"].append("all")),
        ("spec.output.uri", lambda n: n.pop("x-kubernetes-validations")),
        ("spec.output.uri", lambda n: n.pop("pattern")),
        ("spec.output.uri", lambda n: n.update(description="Another.")),
    ],
)
def test_what_lets_in_more_is_no_harm(path: str, change: Callable[[Schema], Any]) -> None:
    assert changed(path, change) == []


@pytest.mark.parametrize("tag", ["", "v0.1.0"])
def test_the_check_compares_with_the_last_release(
    tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    crd = custom_resource_definition()
    at(generate.schema(crd), "spec.training")["properties"]["old"] = {"type": "string"}
    held = {(tag, "crds/embedtune.dev_finetunejobs.yaml"): yaml.safe_dump(crd)}
    monkeypatch.setattr(released, "newest_tag", lambda: tag)
    monkeypatch.setattr(released, "file_of", lambda *what: held.get(what, ""))
    found = generate.since_release()
    gone = "the CRD finetunejobs of v0.1.0 is not merely added to: .spec.training.old: is gone"
    assert found == ([gone] if tag else [])


def test_the_last_release_is_the_newest_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True)

    monkeypatch.setattr(released, "ROOT", tmp_path)
    git("init", "-q")
    assert released.newest_tag() == ""
    for version in ("v0.1.0", "v0.2.0"):
        (tmp_path / "crd.yaml").write_text(version)
        git("add", "crd.yaml")
        git("commit", "-q", "-m", version)
        git("tag", version)
    git("tag", "not-a-version")
    assert released.newest_tag() == "v0.2.0"
    assert released.file_of("v0.1.0", "crd.yaml") == "v0.1.0"
    assert released.file_of("v0.1.0", "other.yaml") == ""
    assert b"v0.1.0" in released.archive_of("v0.1.0")
