"""What can go wrong between a job and its model, and what the status says then."""

import json

import pytest

from localcluster.apiclient import ApiError
from localcluster.controlplane import SCHEDULER, ControlPlane
from tests.operator.world import (
    Namespace,
    OperatorProcess,
    condition,
    eventually,
    failure,
    stamp,
    true_conditions,
)

pytestmark = pytest.mark.controlplane


def test_no_node_can_take_the_pod(
    plane: ControlPlane, operator: OperatorProcess, ns: Namespace
) -> None:
    plane.start_component(SCHEDULER)
    try:
        ns.submit()
        status = ns.wait_reason("Unschedulable")
    finally:
        plane.stop_component(SCHEDULER)
    assert status["state"] == "Pending"
    assert true_conditions(status) == {"Reconciling"}
    assert "0/1 nodes are available" in condition(status, "Running")["message"]
    assert "spec.resources" in condition(status, "Running")["message"]


def test_image_cannot_be_pulled(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    pod = ns.pod()["metadata"]["name"]
    ns.bind(pod)
    ns.wait_in(pod, "ErrImagePull", 'failed to pull "trainer:test": not found')
    status = ns.wait_reason("ImagePullFailed")
    assert true_conditions(status) == {"Stalled"}
    assert "trainer:test" in condition(status, "Stalled")["message"]

    version = ns.job()["metadata"]["resourceVersion"]
    ns.wait_in(pod, "ImagePullBackOff", "Back-off pulling image")
    ns.wait_in(pod, "ErrImagePull", 'failed to pull "trainer:test": not found')
    ns.run(pod)
    assert ns.wait_reason("Training")["state"] == "Running"
    transitions = int(ns.job()["metadata"]["resourceVersion"]) > int(version)
    assert transitions
    assert ns.wait_told("Training") == ["Created", "ImagePullFailed", "Training"]


def test_secret_is_missing(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(storage={"secretRef": {"name": "s3-credentials"}})
    pod = ns.pod()["metadata"]["name"]
    ns.bind(pod)
    ns.wait_in(pod, "CreateContainerConfigError", 'secret "s3-credentials" not found')
    status = ns.wait_reason("ContainerConfigError")
    message = condition(status, "Stalled")["message"]
    assert f"make the Secret s3-credentials in the namespace {ns.name}" in message.lower().replace(
        "secret s3", "Secret s3"
    )


def test_bad_data_is_not_retried(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    pod = ns.start_training()
    ns.wait_reason("Training")
    ns.end(pod, 65, failure("BadData", "train.csv row 7, column label: blank cell"))
    status = ns.wait_reason("BadData")
    assert status["state"] == "Failed"
    assert true_conditions(status) == {"Failed", "Stalled"}
    assert condition(status, "Failed")["message"] == "train.csv row 7, column label: blank cell"
    assert status["lastFailure"]["exitCode"] == 65
    assert status["lastFailure"]["podName"] == pod
    assert status["restarts"] == 1
    assert len(ns.all("pods")) == 1
    assert ns.wait_told("BadData") == ["Created", "Training", "BadData"]


def test_unavailable_storage_is_retried(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    first = ns.start_training()
    ns.wait_reason("Training")
    ns.end(first, 80, failure("StorageUnavailable", "http://minio does not answer"))
    status = ns.wait_reason("Retrying")
    assert true_conditions(status) == {"Reconciling"}
    assert status["lastFailure"]["reason"] == "StorageUnavailable"

    second = ns.start_training(other_than=first)
    ns.wait_reason("Training")
    ns.end(second, 0, ns.result())
    done = ns.wait_reason("Succeeded")
    assert done["restarts"] == 1
    assert done["lastFailure"]["podName"] == first
    assert ns.wait_told("Succeeded") == [
        "Created",
        "Training",
        "StorageUnavailable",
        "Retrying",
        "Training",
        "Succeeded",
    ]


def test_attempts_run_out(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(runPolicy={"backoffLimit": 0})
    pod = ns.start_training()
    ns.end(pod, 82, "Traceback ...\nZeroDivisionError: division by zero")
    status = ns.wait_reason("BackoffLimitExceeded")
    message = condition(status, "Failed")["message"]
    assert "backoffLimit (0)" in message
    assert "InternalError" in message
    assert "ZeroDivisionError" in message


def test_time_runs_out(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(runPolicy={"activeDeadlineSeconds": 2})
    ns.start_training()
    status = ns.wait_reason("DeadlineExceeded")
    assert "activeDeadlineSeconds (2)" in condition(status, "Failed")["message"]


def test_out_of_memory_is_named(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(resources={"memory": "2Gi"})
    pod = ns.start_training()
    ns.end(pod, 137, reason="OOMKilled")
    status = ns.wait_reason("OOMKilled")
    assert status["state"] == "Failed"
    assert "spec.resources.memory above 2Gi" in condition(status, "Failed")["message"]
    assert status["lastFailure"]["exitCode"] == 137


def test_pod_is_deleted_under_it(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    first = ns.start_training()
    ns.wait_reason("Training")
    ns.delete("pods", first, grace_s=30)
    status = ns.wait_reason("Retrying")
    assert status["lastFailure"]["reason"] == "PodDeleted"
    assert "goes on from the last checkpoint" in condition(status, "Running")["message"]
    ns.end(first, 81)
    ns.delete("pods", first)
    ns.start_training(other_than=first)
    status = ns.wait_reason("Training")
    assert status["restarts"] == 1
    assert status["lastFailure"]["podName"] == first


def test_evicted_pod_is_not_counted(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(runPolicy={"backoffLimit": 0})
    first = ns.start_training()
    ns.wait_reason("Training")
    disruption = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    ns.end(first, 137, conditions=[disruption])
    status = ns.wait_reason("Retrying")
    assert status["lastFailure"]["reason"] == "Evicted"
    second = ns.start_training(other_than=first)
    ns.end(second, 0, ns.result())
    assert ns.wait_reason("Succeeded")["state"] == "Complete"


def test_a_full_work_folder_is_not_filled_again(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    full = 'Usage of EmptyDir volume "work" exceeds the limit "20Gi".'
    ended = {"terminated": {"exitCode": 81, "startedAt": stamp(), "finishedAt": stamp()}}
    ns.tell(ns.start_training(), ended, phase="Failed", reason="Evicted", message=full)
    status = ns.wait_reason("EphemeralStorageExceeded")
    assert full in condition(status, "Failed")["message"]
    eventually(
        lambda: "Failed" in true_conditions({"conditions": []} | ns.child()["status"]),
        what="the child Job makes no more pods",
    )


def test_a_pod_on_a_deleted_node_is_replaced_and_not_counted(
    operator: OperatorProcess, ns: Namespace
) -> None:
    """The pod garbage collector ends it, forty seconds after the node has gone."""
    ns.api.call("POST", "/api/v1/nodes", {"metadata": {"name": "lost"}})
    ns.submit(runPolicy={"backoffLimit": 0})
    first = ns.start_training(node="lost")
    ns.wait_reason("Training")
    ns.api.call("DELETE", "/api/v1/nodes/lost")
    eventually(lambda: ns.find("pods", first) is None, what="its pod goes", timeout_s=120)
    ns.end(ns.start_training(other_than=first), 0, ns.result())
    done = ns.wait_reason("Succeeded")
    assert (done["lastFailure"]["reason"], done["lastFailure"]["podName"]) == ("Evicted", first)


@pytest.mark.parametrize("message", ["", "not json", '{"version": 1}'])
def test_end_without_model_is_failure(
    operator: OperatorProcess, ns: Namespace, message: str
) -> None:
    ns.submit()
    ns.end(ns.start_training(), 0, message)
    status = ns.wait_reason("UnknownExit")
    assert status["state"] == "Failed"
    assert "model" not in status
    assert true_conditions(status) == {"Failed", "Stalled"}


def test_model_elsewhere_is_not_believed(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    elsewhere = json.loads(ns.result())["model"] | {"uri": "s3://models/other/"}
    ns.end(ns.start_training(), 0, ns.result(model=elsewhere))
    assert ns.wait_reason("UnknownExit")["state"] == "Failed"


def test_quota_of_jobs(operator: OperatorProcess, ns: Namespace) -> None:
    """As the chart's admission.quotas has them."""
    hard = {"count/finetunejobs.embedtune.dev": "1"}
    quota = {"metadata": {"name": "embedtune"}, "spec": {"hard": hard}}
    ns.api.call("POST", ns.path("resourcequotas"), quota)
    eventually(
        lambda: (ns.find("resourcequotas", "embedtune") or {}).get("status", {}).get("used"),
        what="the quota is counted",
        timeout_s=60,
    )
    ns.submit()
    with pytest.raises(ApiError, match="exceeded quota: embedtune"):
        ns.submit("second")


def test_quota_refuses_the_child_until_it_is_lifted(
    operator: OperatorProcess, ns: Namespace
) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    ns.api.call("POST", ns.path("resourcequotas"), quota)
    ns.submit()
    status = ns.wait_reason("CreateFailed")
    assert true_conditions(status) == {"Stalled"}
    assert "exceeded quota" in condition(status, "Stalled")["message"]
    ns.delete("resourcequotas", "none")
    assert ns.child(timeout_s=30)
    ns.wait_reason("PodPending")
