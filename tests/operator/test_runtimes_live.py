"""Runtimes on a real API server: what waits for one goes on, and what has begun stays as it was."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from localcluster.apiclient import ApiClient
from localcluster.controlplane import ControlPlane
from tests.operator.objects import raw_runtime
from tests.operator.world import (
    JOBS,
    JsonObject,
    Namespace,
    OperatorProcess,
    condition,
    eventually,
)

pytestmark = pytest.mark.controlplane

CLUSTER = f"{JOBS}/clusterfinetuneruntimes"
BLUEPRINT: JsonObject = {
    "default": True,
    "image": "trainer:by-runtime",
    "output": {"uri": "s3://models/{namespace}"},
    "resourceClasses": {"small": {"cpu": "500m", "memory": "1Gi"}},
    "defaultResourceClass": "small",
    "tolerations": [{"key": "ml", "operator": "Exists"}],
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "volumes": [{"name": "hub", "claimName": "hub", "mountPath": "/cache/hub"}],
    "podTemplatePatch": {
        "metadata": {"labels": {"cost": "ml"}},
        "spec": {"volumes": [{"name": "shm", "emptyDir": {"sizeLimit": "1Gi"}}]},
    },
}


def make(ns: Namespace, name: str, **spec: Any) -> None:
    body = raw_runtime(**spec) | {"metadata": {"name": name}}
    ns.api.call("POST", ns.path("finetuneruntimes"), body)


@pytest.fixture
def cluster_runtimes(plane: ControlPlane) -> Iterator[ApiClient]:
    """A client; whatever ClusterFineTuneRuntimes there are go afterwards."""
    yield plane.client()
    for item in plane.client().get(CLUSTER)["items"]:
        plane.client().call("DELETE", f"{CLUSTER}/{item['metadata']['name']}")


def container(item: JsonObject) -> JsonObject:
    """The trainer's of a child Job."""
    (found,) = item["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_the_smallest_job_waits_for_a_default_and_keeps_what_it_began_with(
    operator: OperatorProcess, ns: Namespace
) -> None:
    ns.submit(output={})
    status = ns.wait_reason("OutputMissing")
    assert condition(status, "Stalled")["message"].startswith("spec.output.uri: ")
    make(ns, "team", **BLUEPRINT)
    pod = ns.start_training()
    status = ns.wait_reason("Training")
    uid = ns.job()["metadata"]["uid"]
    assert status["outputUri"] == f"s3://models/{ns.name}/{ns.name}/tune/{uid}/"
    used = status["runtime"]
    assert (used["kind"], used["name"], used["generation"]) == ("FineTuneRuntime", "team", 1)
    first = ns.child()
    template = first["spec"]["template"]
    assert template["metadata"]["labels"]["cost"] == "ml"
    assert container(first)["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in container(first)["env"]
    shm = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}
    assert shm in template["spec"]["volumes"]

    ns.patch("finetuneruntimes", "team", {"spec": {"image": "trainer:newer", "output": None}})
    ns.delete("jobs", first["metadata"]["name"])
    ns.delete("pods", pod)
    again = ns.start_training(other_than=pod)
    second = ns.child()
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert container(second)["image"] == "trainer:by-runtime"
    operator.kill()
    operator.start()
    ns.delete("finetuneruntimes", "team")
    result = ns.result().replace(
        f"s3://models/tuned/{ns.name}/", f"s3://models/{ns.name}/{ns.name}/"
    )
    ns.end(again, 0, result)
    status = ns.wait_reason("Succeeded")
    assert (status["runtime"], status["model"]["uri"]) == (used, status["outputUri"])


def test_a_named_one_of_the_cluster_is_waited_for(
    operator: OperatorProcess, ns: Namespace, cluster_runtimes: ApiClient
) -> None:
    make(ns, "team", **BLUEPRINT)
    runtime = {"name": "shared", "kind": "ClusterFineTuneRuntime"}
    ns.submit(output={}, runtime=runtime)
    message = condition(ns.wait_reason("RuntimeNotFound"), "Stalled")["message"]
    assert message.startswith("spec.runtime: there is no ClusterFineTuneRuntime shared; ")
    spec = BLUEPRINT | {"default": False, "image": "trainer:shared"}
    body = raw_runtime(kind="ClusterFineTuneRuntime", **spec) | {"metadata": {"name": "shared"}}
    cluster_runtimes.call("POST", CLUSTER, body)
    assert container(ns.child())["image"] == "trainer:shared"
    assert ns.status()["runtime"]["kind"] == "ClusterFineTuneRuntime"


def test_two_defaults_are_named_until_one_is_left(operator: OperatorProcess, ns: Namespace) -> None:
    make(ns, "one", **BLUEPRINT)
    make(ns, "two", **BLUEPRINT)
    ns.submit()
    message = condition(ns.wait_reason("RuntimeAmbiguous"), "Stalled")["message"]
    assert "the FineTuneRuntimes one and two all have spec.default: true" in message
    ns.delete("finetuneruntimes", "one")
    assert container(ns.child())["image"] == "trainer:by-runtime"
    eventually(lambda: ns.status().get("runtime", {}).get("name") == "two", what="the other one")


def test_what_kubernetes_does_not_know_is_not_left_out_silently(
    operator: OperatorProcess, ns: Namespace
) -> None:
    make(ns, "typo", **BLUEPRINT | {"affinity": {"nodeAffinty": {}}})
    ns.submit(runtime={"name": "typo"})
    message = condition(ns.wait_reason("CreateFailed"), "Stalled")["message"]
    assert 'unknown field "spec.template.spec.affinity.nodeAffinty"' in message
    assert "spec.affinity or spec.podTemplatePatch of the FineTuneRuntime typo" in message
    assert ns.all("jobs") == []


@pytest.fixture
def nested() -> Iterator[JsonObject]:
    """As deep as the API server takes it, which is too deep for Python's usual limit."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(30_000)
    found: JsonObject = {}
    for _ in range(9_900):
        found = {"a": found}
    yield found
    while found:  # or its end would recurse, too
        found = found.pop("a", {})
    sys.setrecursionlimit(usual)


def test_one_that_is_nested_without_end_is_its_users_trouble_alone(
    operator: OperatorProcess, ns: Namespace, nested: JsonObject
) -> None:
    make(ns, "deep", affinity=nested)
    ns.submit("by-it", runtime={"name": "deep"})
    assert (
        "nested too deeply"
        in condition(ns.wait_reason("RuntimeInvalid", "by-it"), "Stalled")["message"]
    )
    ns.submit()
    ns.end(ns.start_training(), 0, ns.result())
    ns.wait_reason("Succeeded")
    ns.delete("finetuneruntimes", "deep")
    ns.wait_reason("RuntimeNotFound", "by-it")


def test_what_is_applied_together_was_never_missing(
    operator: OperatorProcess, ns: Namespace
) -> None:
    for number in range(10):
        make(ns, f"runtime-{number}", **BLUEPRINT | {"default": False})
        ns.submit(f"job-{number}", runtime={"name": f"runtime-{number}"}, output={})
    eventually(lambda: len(ns.all("jobs")) == 10, what="children")
    assert "RuntimeNotFound" not in ns.events()
