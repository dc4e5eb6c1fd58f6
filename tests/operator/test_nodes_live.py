"""Several nodes and Kueue's queues on a real control plane, whose Job controller makes the pods."""

import json
import time
from typing import Any

import pytest

from localcluster.controlplane import ControlPlane
from tests.operator.kueue import FLAVOUR, QUEUE, Kueue
from tests.operator.world import (
    JsonObject,
    Namespace,
    OperatorProcess,
    condition,
    eventually,
    failure,
    true_conditions,
)

pytestmark = pytest.mark.controlplane

TWO: dict[str, Any] = {"parallelism": {"nodes": 2}}
INDEX = "batch.kubernetes.io/job-completion-index"


def lost(who: str) -> str:
    return failure("PeerLost", f"{who} has gone")


def pods(ns: Namespace, *but: str) -> dict[int, JsonObject]:
    """Both nodes' pods that have not ended, once they are there."""

    def look() -> dict[int, JsonObject] | None:
        found = {
            int(pod["metadata"]["labels"][INDEX]): pod
            for pod in ns.all("pods")
            if pod["status"]["phase"] in ("Pending", "Running")
            and pod["metadata"]["name"] not in but
            and "deletionTimestamp" not in pod["metadata"]
        }
        return found if len(found) == 2 else None

    return eventually(look, what="two pods", timeout_s=60)


def start_both(ns: Namespace, *but: str) -> tuple[str, str]:
    """Bring both to where the trainer runs; their names."""
    found = pods(ns, *but)
    names = found[0]["metadata"]["name"], found[1]["metadata"]["name"]
    for name in names:
        ns.bind(name)
        ns.run(name)
    return names


def test_two_nodes_from_apply_to_result(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(**TWO)
    found = pods(ns)
    service = eventually(lambda: ns.all("services"), what="the Service")[0]
    child = ns.child()
    for index, pod in found.items():
        env = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
        assert pod["spec"]["hostname"] == f"{child['metadata']['name']}-{index}"
        assert pod["spec"]["subdomain"] == service["metadata"]["name"]
        host, _, port = env["EMBEDTUNE_RENDEZVOUS"].partition(":")
        assert host == f"{found[0]['spec']['hostname']}.{service['metadata']['name']}"
        assert port == "29400"
        assert env["EMBEDTUNE_NODES"] == "2"
        assert "JOB_COMPLETION_INDEX" in env
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["clusterIP"] == "None"

    first, second = (found[n]["metadata"]["name"] for n in (0, 1))
    ns.bind(first)
    ns.run(first)
    eventually(
        lambda: "node 1: " in condition(ns.status(), "Running")["message"], what="it waits for one"
    )
    assert ns.status()["state"] == "Pending"
    ns.bind(second)
    ns.run(second)
    assert ns.wait_reason("Training")["state"] == "Running"
    ns.end(first, 0, ns.result())
    done = ns.wait_reason("Succeeded")
    assert (done["state"], done["restarts"]) == ("Complete", 0)

    def complete() -> bool:
        return "Complete" in true_conditions({"conditions": []} | ns.child()["status"])

    # the other may end as it likes: the first has put the model in its place
    eventually(
        lambda: "deletionTimestamp" in ns.api.get(ns.path("pods", second))["metadata"],
        what="the other pod is told to go",
    )
    ns.end(second, 81)
    eventually(complete, what="the Job is complete")


def test_one_trains_alone_and_makes_room_for_the_other(
    operator: OperatorProcess, ns: Namespace
) -> None:
    ns.submit(parallelism={"nodes": 2, "minNodes": 1}, runPolicy={"backoffLimit": 0})
    first, second = (pods(ns)[n]["metadata"]["name"] for n in (0, 1))
    ns.bind(first)
    ns.run(first)
    status = ns.wait_reason("Training")
    assert "1 of 2 pods" in condition(status, "Running")["message"]
    ns.bind(second)
    ns.run(second)
    came = {"reason": "Regrouped", "message": "a node has come"}
    ns.end(first, 81, json.dumps({"version": 1, "failure": came}))
    ns.wait_reason("Retrying")
    again = pods(ns, first)[0]["metadata"]["name"]
    ns.bind(again)
    ns.run(again)
    status = ns.wait_reason("Training")
    assert "runs in 2 pods" in condition(status, "Running")["message"]
    assert status["restarts"] == 0
    assert "lastFailure" not in status
    ns.end(again, 0, ns.result())
    assert ns.wait_reason("Succeeded")["restarts"] == 0


def test_one_failed_pod_restarts_both_and_counts_once(
    operator: OperatorProcess, ns: Namespace
) -> None:
    """With one retry: counted once a pod, the second attempt would be the last already."""
    ns.submit(**TWO, runPolicy={"backoffLimit": 1})
    first, second = start_both(ns)
    ns.wait_reason("Training")
    ns.end(first, 81, lost("node 1"))
    ns.end(second, 80, "s3 does not answer")
    eventually(lambda: ns.status().get("restarts") == 1, what="it is counted")
    again = start_both(ns, first, second)
    status = ns.wait_reason("Training")
    assert (status["restarts"], status["lastFailure"]["podName"]) == (1, second)
    assert status["lastFailure"]["reason"] == "StorageUnavailable"
    assert ns.child()["status"]["failed"] == 1, "the other is not counted by Kubernetes, either"
    ns.end(again[0], 0, ns.result())
    assert ns.wait_reason("Succeeded")["restarts"] == 1


def test_what_no_retry_mends_ends_the_job(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(**TWO)
    first, second = start_both(ns)
    ns.end(first, 81, lost("node 1"))
    ns.end(second, 65, "row 7")
    status = ns.wait_reason("BadData")
    assert (status["state"], status["lastFailure"]["podName"]) == ("Failed", second)


def test_both_are_suspended_and_resumed(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(**TWO)
    names = start_both(ns)
    ns.wait_reason("Training")
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": True}})
    let_go(ns, *names)
    assert true_conditions(ns.wait_reason("Suspended")) == {"Suspended"}
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": False}})
    again = start_both(ns, *names)
    status = ns.wait_reason("Training")
    assert (status["restarts"], status.get("lastFailure")) == (0, None)
    ns.end(again[0], 0, ns.result())
    ns.wait_reason("Succeeded")


def let_go(ns: Namespace, *names: str) -> None:
    """Both end with a checkpoint, once they are told to."""
    for name in names:
        eventually(
            lambda name=name: "deletionTimestamp" in ns.api.get(ns.path("pods", name))["metadata"],
            what=f"{name} is told to go",
        )
        ns.end(name, 81)
        ns.delete("pods", name)


@pytest.fixture
def kueue(plane: ControlPlane, ns: Namespace) -> Kueue:
    found = Kueue(plane, ns)
    found.install()
    return found


def submit_queued(ns: Namespace, **spec: Any) -> None:
    labels = {QUEUE: "team", "kueue.x-k8s.io/priority-class": "high"}
    notes = {"kueue.x-k8s.io/podset-required-topology": "cloud.provider.com/rack"}
    ns.submit(labels=labels, annotations=notes, **spec)


def test_kueue_lets_in_takes_out_and_lets_in_again(
    operator: OperatorProcess, ns: Namespace, kueue: Kueue
) -> None:
    submit_queued(ns, **TWO)
    assert ns.wait_reason("Queued")["state"] == "Pending"
    child = ns.child()
    assert child["spec"]["suspend"] is True
    assert child["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "high"
    noted = child["spec"]["template"]["metadata"]["annotations"]
    assert noted == {"kueue.x-k8s.io/podset-required-topology": "cloud.provider.com/rack"}
    assert ns.all("pods") == []

    kueue.let_in()
    names = start_both(ns)
    ns.wait_reason("Training")
    # what else the operator writes there leaves alone what is Kueue's
    ns.patch("finetunejobs", "tune", {"spec": {"runPolicy": {"backoffLimit": 7}}})
    eventually(lambda: ns.child()["spec"]["backoffLimit"] == 7, what="the policy is handed on")
    spec = ns.child()["spec"]
    assert spec["suspend"] is False
    assert spec["template"]["spec"]["nodeSelector"] == FLAVOUR["nodeSelector"]
    assert FLAVOUR["tolerations"][0] in spec["template"]["spec"]["tolerations"]

    kueue.take_out()
    status = ns.wait_reason("Queued")
    assert "writes a checkpoint" in condition(status, "Running")["message"]
    let_go(ns, *names)
    eventually(
        lambda: "has not let the Job" in condition(ns.status(), "Running")["message"],
        what="it waits again",
    )
    time.sleep(1)
    assert ns.child()["spec"]["suspend"] is True, "the operator does not resume it"

    kueue.let_in()
    again = start_both(ns, *names)
    status = ns.wait_reason("Training")
    assert (status["restarts"], status.get("lastFailure")) == (0, None)
    ns.end(again[0], 0, ns.result())
    ns.wait_reason("Succeeded")
    assert len(ns.all("jobs")) == 1


def test_a_queued_job_that_its_user_suspends_is_held_back_by_kueue(
    operator: OperatorProcess, ns: Namespace, kueue: Kueue
) -> None:
    submit_queued(ns)
    ns.wait_reason("Queued")
    kueue.take_note()
    kueue.let_in()
    pod = ns.start_training()
    ns.wait_reason("Training")
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": True}})
    eventually(lambda: not kueue.active, what="Kueue is told")
    assert ns.child()["spec"]["suspend"] is False, "Kueue takes it out, not the operator"
    kueue.take_out()
    let_go(ns, pod)
    ns.wait_reason("Suspended")
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": False}})
    eventually(lambda: kueue.active, what="Kueue is told again")
    ns.wait_reason("Queued")
    time.sleep(1)
    assert ns.child()["spec"]["suspend"] is True, "the queue lets it in, not the operator"
    kueue.let_in()
    ns.end(ns.start_training(other_than=pod), 0, ns.result())
    ns.wait_reason("Succeeded")
