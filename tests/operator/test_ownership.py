"""Whose children are whose, who may delete what, and what is left on the user's objects."""

import json

import pytest

from embedtune_api import contract
from embedtune_api.job import FineTuneJob
from tests.operator.world import JsonObject, Namespace, OperatorProcess, condition, eventually

pytestmark = pytest.mark.controlplane


def finish(ns: Namespace, name: str = "tune") -> JsonObject:
    ns.end(ns.start_training(), 0, ns.result(name))
    return ns.wait_reason("Succeeded", name)


def test_deleting_the_job_removes_everything(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    pod = ns.start_training()
    ns.wait_reason("Training")
    ns.delete("finetunejobs", "tune")
    assert ns.find("finetunejobs", "tune") is None
    eventually(lambda: not ns.all("jobs"), what="the child Job goes")
    eventually(
        lambda: "deletionTimestamp" in ns.api.get(ns.path("pods", pod))["metadata"],
        what="the pod is told to go",
    )
    ns.end(pod, 81)
    ns.delete("pods", pod)
    eventually(lambda: not ns.all("pods"), what="the pod goes")
    left = [c["metadata"]["name"] for c in ns.all("configmaps")]
    assert left == ["kube-root-ca.crt"]


def test_nothing_is_left_on_the_users_object(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    finish(ns)
    meta = ns.job()["metadata"]
    assert "annotations" not in meta
    assert "finalizers" not in meta
    assert "labels" not in meta
    ours = [m for m in meta["managedFields"] if m["manager"] == "embedtune-operator"]
    assert [(m["operation"], m["subresource"], list(m["fieldsV1"])) for m in ours] == [
        ("Apply", "status", ["f:status"])
    ]


def test_one_name_in_two_namespaces(operator: OperatorProcess, ns: Namespace) -> None:
    other = Namespace(ns.api, f"{ns.name}-other").create()
    ns.submit()
    other.submit()
    ns.start_training()
    ns.wait_reason("Training")
    assert other.wait_reason("PodPending")["state"] == "Pending"
    assert finish(other)["model"]["uri"].startswith(f"s3://models/tuned/{other.name}/tune/")
    assert ns.status()["reason"] == "Training"


def test_job_made_again_under_its_name(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    first = finish(ns)
    ns.delete("finetunejobs", "tune")
    ns.submit()
    second = ns.wait_reason("PodPending")
    assert "model" not in second
    assert second["jobName"] != first["jobName"]
    assert second["jobName"] in {j["metadata"]["name"] for j in ns.all("jobs")}


def test_foreign_pod_with_our_labels_is_not_believed(
    operator: OperatorProcess, ns: Namespace
) -> None:
    ns.submit()
    real = ns.start_training()
    ns.wait_reason("Training")
    meta = ns.api.get(ns.path("pods", real))["metadata"]
    forged = {
        "metadata": {"name": "forged", "labels": meta["labels"]},
        "spec": {"containers": [{"name": "trainer", "image": "x"}]},
    }
    forged["metadata"]["labels"].pop("batch.kubernetes.io/controller-uid")
    forged["metadata"]["labels"].pop("controller-uid")
    ns.api.call("POST", ns.path("pods"), forged)
    ns.end("forged", 0, ns.result())
    ns.patch("finetunejobs", "tune", {"spec": {"runPolicy": {"backoffLimit": 7}}})
    eventually(lambda: ns.child()["spec"]["backoffLimit"] == 7, what="a reconcile")
    assert ns.status()["reason"] == "Training"


def test_deleted_child_is_made_again_when_its_pod_has_ended(
    operator: OperatorProcess, ns: Namespace
) -> None:
    ns.submit()
    pod = ns.start_training()
    ns.wait_reason("Training")
    before = ns.child()["metadata"]
    ns.delete("jobs", before["name"])
    ns.wait_reason("ChildDeleted")
    assert ns.all("jobs") == []
    ns.end(pod, 81)
    ns.delete("pods", pod)
    after = ns.child()["metadata"]
    assert after["name"] == before["name"]
    assert after["uid"] != before["uid"]
    finish(ns)


def test_finished_job_keeps_its_status_when_its_children_are_swept_away(
    operator: OperatorProcess, ns: Namespace
) -> None:
    ns.submit(runPolicy={"ttlSecondsAfterFinished": 1})
    done = finish(ns)
    eventually(lambda: not ns.all("jobs"), what="the TTL removes the child")
    operator.kill()
    operator.start()
    ns.patch("finetunejobs", "tune", {"spec": {"runPolicy": {"backoffLimit": 7}}})
    eventually(lambda: ns.status()["observedGeneration"] == 2, what="the change is seen")
    assert ns.status() == done | {"observedGeneration": 2}
    assert ns.all("jobs") == []


def test_result_that_was_deleted_unread(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    pod = ns.start_training()
    ns.wait_reason("Training")
    operator.kill()
    ns.end(pod, 0, ns.result())
    eventually(lambda: ns.child()["status"].get("succeeded"), what="the Job is complete")
    ns.delete("pods", pod)
    operator.start()
    status = ns.wait_reason("ChildDeleted")
    assert status["state"] == "Failed"
    assert "manifest.json" in condition(status, "Failed")["message"]


@pytest.mark.parametrize("stage", ["submitted", "made", "running", "ended"])
def test_operator_is_killed_at(stage: str, operator: OperatorProcess, ns: Namespace) -> None:
    def restart_if(here: str) -> None:
        if stage == here:
            operator.start()

    if stage == "submitted":
        operator.kill()
    ns.submit()
    restart_if("submitted")
    child = ns.child()
    if stage == "made":
        operator.kill()
    pod = ns.start_training()
    restart_if("made")
    if stage == "running":
        ns.wait_reason("Training")
        operator.kill()
        operator.start()
        ns.wait_reason("Training")
    if stage == "ended":
        operator.kill()
    ns.end(pod, 0, ns.result())
    restart_if("ended")
    ns.wait_reason("Succeeded")
    assert [j["metadata"]["uid"] for j in ns.all("jobs")] == [child["metadata"]["uid"]]
    assert len(ns.all("pods")) == 1
    events = ns.wait_told("Succeeded")
    assert len(events) == len(set(events))


def test_trainer_is_given_the_job(operator: OperatorProcess, ns: Namespace) -> None:
    made = ns.submit(training={"epochs": 2})
    name = ns.child()["metadata"]["name"]
    config_map = ns.find("configmaps", name)
    assert config_map is not None
    job = FineTuneJob.parse(json.loads(config_map["data"][contract.JOB_KEY]))
    assert job.metadata.uid == made["metadata"]["uid"]
    assert job.spec == FineTuneJob.parse(made).spec


def test_sigterm_ends_it_in_order(operator: OperatorProcess) -> None:
    assert operator.stop() == 0
