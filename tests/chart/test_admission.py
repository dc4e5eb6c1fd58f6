"""The chart's limits on a real API server: what they refuse, how they say it, what they let in."""

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from embedtune_api.job import FineTuneJob
from tests.api.cases import MINIMAL, PAIR
from tests.chart.test_chart import LIMIT, RUNTIMES, render
from tests.conftest import Kubectl

pytestmark = pytest.mark.controlplane

JsonObject = dict[str, Any]
KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
TEAM, OTHER = "limited", "unlimited"
ELSEWHERE = "s3://elsewhere/x"
GOOD: JsonObject = {
    "model": {"backbone": "s3://bases/minilm"},
    "data": {"train": {"uri": f"s3://datasets/{TEAM}/train.csv"}},
    "output": {"uri": f"s3://models/{TEAM}"},
    "runPolicy": {"activeDeadlineSeconds": 60},
}


@dataclass(frozen=True)
class Limited:
    """The control plane with limits installed."""

    kubectl: Kubectl

    def create(self, namespace: str = TEAM, *, dry: bool = True, **spec: Any) -> str:
        """Make a job of GOOD and these fields; gives what kubectl said to stderr."""
        metadata = {"name": "job", "namespace": namespace}
        job = copy.deepcopy(MINIMAL) | {"metadata": metadata, "spec": GOOD | spec}
        flags = ("--dry-run=server",) if dry else ()
        done = self.kubectl("create", *flags, "-f", "-", stdin=json.dumps(job), check=False)
        return done.stderr

    def patch(self, body: JsonObject) -> str:
        """Change the job that is stored."""
        words = ("patch", "ftj", "job", "-n", TEAM, "--type=merge", "-p", json.dumps(body))
        return self.kubectl(*words, check=False).stderr


def install(kubectl: Kubectl, limits: list[JsonObject]) -> list[str]:
    """Apply the chart's policies; gives their names."""
    manifests = [m for m in render({"admission": {"limits": limits}}) if m["kind"] in KINDS]
    kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(manifests))
    return [m["metadata"]["name"] for m in manifests if m["kind"] == KINDS[0]]


@pytest.fixture(scope="module")
def limited(kubectl: Kubectl) -> Iterator[Limited]:
    """With two limits: one that refuses in TEAM, one that warns everywhere."""
    for name, labels in ((TEAM, {"kind": "team"}), (OTHER, {})):
        namespace = {"apiVersion": "v1", "kind": "Namespace"}
        namespace["metadata"] = {"name": name, "labels": labels}  # type: ignore[assignment]
        kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    limits = [LIMIT, {"name": "all", "actions": ["Warn"], "gpus": 1}]
    names = install(kubectl, limits)
    found = Limited(kubectl)
    deadline = time.monotonic() + 30
    while not found.create(output={"uri": ELSEWHERE}) or not found.create(
        OTHER, resources={"gpus": 2}
    ):
        assert time.monotonic() < deadline, "the policies are never enforced"
        time.sleep(0.2)
    yield found
    for kind in KINDS:
        kubectl("delete", kind, *names)


def test_what_keeps_to_the_limits_is_let_in(limited: Limited) -> None:
    assert limited.create() == ""
    evaluation = {"uri": f"s3://datasets/{TEAM}/test.csv"}
    data = {"mix": [{"uri": f"s3://datasets/{TEAM}/{n}"} for n in "ab"], "evaluation": evaluation}
    assert limited.create(model={"backbone": "hf://gpt2"}, data=data) == ""
    assert limited.create(storage={"endpoint": "https://s3.example.com"}) == ""
    most = {"gpus": 1, "cpu": "16000m", "memory": "131072Mi"}
    assert limited.create(resources=most) == ""


def with_uri(path: str, uri: str) -> JsonObject:
    """GOOD with one URI replaced; a part of the path may be an index."""
    spec = copy.deepcopy(GOOD)
    top, *parents, last = path.split(".")
    if top == "model" and parents:
        spec["model"] = copy.deepcopy(PAIR)
        for tower in ("text", "image"):
            spec["model"][tower]["backbone"] = "s3://bases/x"
    if "mix" in path:
        spec["data"] = {"mix": [{"uri": f"s3://datasets/{TEAM}/{n}"} for n in "ab"]}
    if "queries" in path or "index" in path:
        both = {name: {"uri": f"s3://datasets/{TEAM}/x"} for name in ("queries", "index")}
        spec["data"]["evaluation"] = both
    node: Any = spec
    for key in (top, *parents):
        node = node[int(key)] if key.isdigit() else node.setdefault(key, {})
    node[last] = uri
    return spec


READ = (
    *("model.backbone", "model.weights", "model.text.backbone", "model.text.weights"),
    *("model.image.backbone", "model.image.weights", "data.train.uri", "data.mix.1.uri"),
    *("data.evaluation.uri", "data.evaluation.queries.uri", "data.evaluation.index.uri"),
)


@pytest.mark.parametrize("path", READ)
def test_every_uri_that_is_read_is_looked_at(limited: Limited, path: str) -> None:
    spec = with_uri(path, ELSEWHERE)
    manifest = MINIMAL | {"metadata": MINIMAL["metadata"] | {"uid": "0"}, "spec": spec}
    assert ELSEWHERE in FineTuneJob.parse(manifest).spec.uris, "the API names it, too"
    said = limited.create(**spec)
    field = path.partition(".1.")[0]
    assert f"spec.{field}: {ELSEWHERE} may not be read from in the namespace {TEAM}" in said
    assert f"what may be: s3://bases/, s3://datasets/{TEAM}/, hf://" in said


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"output": {"uri": f"s3://models/{OTHER}"}}, "spec.output.uri: s3://models/unlimited may"),
        ({"output": {"uri": f"s3://models/{TEAM}-not"}}, "spec.output.uri"),
        ({"data": {"train": {"uri": f"s3://datasets/{OTHER}/x"}}}, "spec.data.train.uri"),
        (
            {"loggers": {"mlflow": {"trackingUri": "http://mlflow.example.com/"}}},
            "spec.loggers.mlflow.trackingUri: http://mlflow.example.com/ may not be written to",
        ),
        ({"storage": {"endpoint": "https://s3.example.net"}}, "spec.storage.endpoint: not one of"),
        ({"resources": {"gpus": 3}}, "spec.resources.gpus: at most 2 in the namespace limited"),
        ({"resources": {"cpu": 17}}, "spec.resources.cpu: at most 16"),
        ({"resources": {"cpu": "16001m"}}, "spec.resources.cpu: at most 16"),
        ({"resources": {"memory": "129Gi"}}, "spec.resources.memory: at most 128Gi in"),
        (
            {
                "resources": {"memory": "65Gi"},
                "runPolicy": {"activeDeadlineSeconds": 60, "onOutOfMemory": "moreMemory"},
            },
            "twice over since spec.runPolicy.onOutOfMemory is moreMemory",
        ),
        ({"runPolicy": {}}, "spec.runPolicy.activeDeadlineSeconds: required, and at most 31536000"),
    ],
    ids=json.dumps,
)
def test_refused_with_the_field_and_the_limit(
    limited: Limited, spec: JsonObject, says: str
) -> None:
    said = limited.create(**spec)
    assert "denied request: " in said
    assert says in said
    assert limited.create(OTHER, **spec) == "" or "Warning" in limited.create(OTHER, **spec)


def test_a_warning_lets_it_in(limited: Limited) -> None:
    said = limited.create(OTHER, resources={"gpus": 2})
    assert said.startswith("Warning: ")
    assert "spec.resources.gpus: at most 1 in the namespace unlimited" in said


def test_a_job_must_name_one_of_the_runtimes(limited: Limited) -> None:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": OTHER}}
    limit = {"name": "blueprints", "actions": ["Deny"], "namespaceSelector": selector}
    (name,) = install(limited.kubectl, [limit | {"runtimes": RUNTIMES}])
    says = f"spec.runtime: required, and one of those that may be used in the namespace {OTHER}: "
    deadline = time.monotonic() + 30
    while says not in (said := limited.create(OTHER)):
        assert time.monotonic() < deadline, f"never enforced: {said}"
        time.sleep(0.2)
    for runtime in ({"name": "shared-gpu"}, {"name": "team", "kind": "ClusterFineTuneRuntime"}):
        said = limited.create(OTHER, runtime=runtime)
        assert says + ", ".join(RUNTIMES) in said, "the kind counts, too"
    for runtime in ({"name": "team"}, {"name": "shared-gpu", "kind": "ClusterFineTuneRuntime"}):
        assert limited.create(OTHER, runtime=runtime) == ""
    for kind in KINDS:
        limited.kubectl("delete", kind, name)


def test_more_memory_later_on_is_more_memory_too(limited: Limited) -> None:
    assert limited.create(dry=False, resources={"memory": "65Gi"}) == ""
    said = limited.patch({"spec": {"runPolicy": {"onOutOfMemory": "moreMemory"}}})
    assert "twice over" in said
    limited.kubectl("delete", "ftj", "job", "-n", TEAM)


def test_what_was_let_in_is_not_held_fast_by_a_later_limit(limited: Limited) -> None:
    kubectl = limited.kubectl
    assert limited.create(dry=False, resources={"memory": "64Gi"}) == ""
    (name,) = install(kubectl, [LIMIT | {"name": "later", "memory": "1Gi"}])
    for number in range(10, 100):  # a patch that changes nothing is not looked at
        said = limited.patch({"spec": {"runPolicy": {"backoffLimit": number}}})
        if "at most 1Gi" in said:
            break
        time.sleep(0.2)
    else:
        raise AssertionError(f"never enforced: {said}")
    for body in (
        {"metadata": {"finalizers": ["embedtune.dev/remove-model"]}},
        {"spec": {"suspend": True}},
        {"metadata": {"finalizers": None}},
    ):
        assert limited.patch(body) == ""
    for kind in KINDS:
        kubectl("delete", kind, name)
    kubectl("delete", "ftj", "job", "-n", TEAM)
