"""A job is stopped, goes on, is tried again, given up and cleaned up, on the kubelet."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from localdemo.setup import SECRET
from tests.e2e.conftest import LONG, User, training

pytestmark = pytest.mark.cluster

Rows = list[tuple[str, str]]
NOWHERE = "s3://datasets/no/such.csv"
"""Of a job that fails as soon as its trainer looks for its data."""


def patch(user: User, name: str, spec: dict[str, Any]) -> None:
    body = json.dumps({"spec": spec})
    user.site.kubectl("patch", "ftj", name, "-n", user.namespace, "--type=merge", "-p", body)


def within(timeout_s: float, look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def jobs(user: User) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = user.get("jobs")["items"]
    return found


def test_a_suspended_job_frees_its_pod_and_goes_on_where_it_was(
    user: User, questions: Rows
) -> None:
    user.apply("paused", user.data(questions[:200]), training=LONG)
    reached = user.wait("paused", training)["progress"]["step"]
    patch(user, "paused", {"suspend": True})
    waiting = ("wait", "ftj/paused", "-n", user.namespace, "--timeout=90s")
    user.site.kubectl(*waiting, "--for=condition=Suspended")
    within(60, lambda: user.pods("paused") == [])
    assert [n for n in user.objects_in_s3("paused") if n.startswith("checkpoints/")]

    patch(user, "paused", {"suspend": False})
    assert user.wait("paused", training)["progress"]["step"] >= reached
    done = user.finish("paused")
    assert (done["state"], done["restarts"]) == ("Complete", 0)
    assert "lastFailure" not in done
    assert len(jobs(user)) == 1


def test_storage_that_comes_back_is_waited_for_by_a_second_pod(user: User, questions: Rows) -> None:
    uri = user.data(questions[:100])
    endpoint = f"http://later.{user.namespace}.svc:9000"
    user.apply("patient", uri, storage={"endpoint": endpoint, "secretRef": {"name": SECRET}})
    status = user.wait("patient", lambda s: s.get("reason") == "Retrying", timeout_s=180)
    assert status["lastFailure"]["reason"] == "StorageUnavailable"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "later", "namespace": user.namespace},
        "spec": {"type": "ExternalName", "externalName": "minio.minio.svc.cluster.local"},
    }
    user.site.kubectl("apply", "-f", "-", stdin=json.dumps(service))
    done = user.finish("patient")
    assert (done["state"], done["restarts"]) == ("Complete", 1)


def test_out_of_memory_is_tried_once_more_with_twice_as_much(user: User, questions: Rows) -> None:
    user.apply(
        "hungry",
        user.data(questions),
        resources={"cpu": "1", "memory": "150Mi"},
        runPolicy={"onOutOfMemory": "moreMemory"},
    )
    status = user.finish("hungry")
    assert (status["reason"], status["memory"], status["restarts"]) == ("OOMKilled", "300Mi", 2)
    limits = [
        job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for job in jobs(user)
    ]
    assert sorted(limits) == ["150Mi", "300Mi"]


def test_an_evicted_pod_is_replaced_and_not_counted(user: User, questions: Rows) -> None:
    user.apply("evicted", user.data(questions[:200]), training=LONG, runPolicy={"backoffLimit": 0})
    user.wait("evicted", training)
    (pod,) = (p["metadata"]["name"] for p in user.pods("evicted"))
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": user.namespace},
    }
    path = f"/api/v1/namespaces/{user.namespace}/pods/{pod}/eviction"
    user.site.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    done = user.finish("evicted")
    assert done["state"] == "Complete"
    assert (done["lastFailure"]["reason"], done["lastFailure"]["podName"]) == ("Evicted", pod)


def test_deadlines_end_what_runs_and_what_waits(user: User, questions: Rows) -> None:
    uri = user.data(questions[:200])
    endless = LONG | {"epochs": 1000}
    user.apply("slow", uri, training=endless, runPolicy={"activeDeadlineSeconds": 15})
    wide = {"gpus": 64, "cpu": "1", "memory": "1Gi"}
    user.apply("wide", uri, resources=wide, runPolicy={"pendingDeadlineSeconds": 5})
    assert user.finish("wide")["reason"] == "PendingDeadlineExceeded"
    assert user.finish("slow")["reason"] == "DeadlineExceeded"
    within(90, lambda: not user.pods("wide") and not user.pods("slow"))


def test_the_ttl_takes_the_pod_and_if_asked_the_job(user: User) -> None:
    user.apply("kept", NOWHERE, runPolicy={"ttlSecondsAfterFinished": 5})
    user.apply("swept", NOWHERE, runPolicy={"ttlSecondsAfterFinished": 5, "ttlPolicy": "job"})
    status = user.finish("kept")
    within(90, lambda: not jobs(user))
    names = {item["metadata"]["name"] for item in user.get("ftj")["items"]}
    assert names == {"kept"}
    patch(user, "kept", {"runPolicy": {"backoffLimit": 1}})
    within(20, lambda: user.status("kept")["observedGeneration"] == 2)
    assert user.status("kept") == status | {"observedGeneration": 2}
    assert jobs(user) == []


def test_a_model_that_is_not_retained_goes_with_its_job(user: User, questions: Rows) -> None:
    output = {"uri": "s3://models/e2e", "retain": False}
    user.apply("brief", user.data(questions[:100]), output=output)
    uri = user.finish("brief")["model"]["uri"].removeprefix("s3://models/")
    user.site.kubectl("delete", "ftj", "brief", "-n", user.namespace, "--timeout=120s")
    with user.site.s3() as client:
        assert list(client.list_objects("models", prefix=uri, recursive=True)) == []
    events = user.get("events", "--field-selector", "involvedObject.name=brief")["items"]
    assert "ModelRemoved" in {event["reason"] for event in events}
