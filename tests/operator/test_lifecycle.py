"""Suspending, retrying, giving up and cleaning up, on a real control plane."""

import json

import pytest

from localcluster.apiclient import ApiError
from localcluster.controlplane import ControlPlane
from tests.conftest import kubectl_with
from tests.operator.kstatus import kstatus
from tests.operator.world import (
    JsonObject,
    Namespace,
    OperatorProcess,
    condition,
    eventually,
    true_conditions,
)

pytestmark = pytest.mark.controlplane

GOES = {"uri": "s3://models/tuned", "retain": False}


def suspend(ns: Namespace, value: bool) -> None:
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": value}})


def told_to_go(ns: Namespace, pod: str) -> bool:
    return "deletionTimestamp" in ns.api.get(ns.path("pods", pod))["metadata"]


def ended(ns: Namespace, pod: str, code: int) -> None:
    """The container of a pod ends, once the pod is told to go."""
    eventually(lambda: told_to_go(ns, pod), what="the pod is told to go")
    ns.end(pod, code)


def let_go(ns: Namespace, pod: str, code: int) -> None:
    """What the kubelet does once a pod is told to go and its container has ended."""
    ended(ns, pod, code)
    ns.delete("pods", pod)


def child_failed(ns: Namespace) -> bool:
    return "Failed" in true_conditions({"conditions": []} | ns.child()["status"])


def memory(job: JsonObject) -> str:
    container = job["spec"]["template"]["spec"]["containers"][0]
    limit: str = container["resources"]["limits"]["memory"]
    return limit


@pytest.mark.parametrize("code", [81, 137], ids=["checkpoint", "killed"])
def test_suspend_and_resume(
    plane: ControlPlane, operator: OperatorProcess, ns: Namespace, code: int
) -> None:
    """Also where the pod overruns its grace period, which fails the child Job for good."""
    ns.submit(runPolicy={"backoffLimit": 0})
    first = ns.start_training()
    ns.wait_reason("Training")
    suspend(ns, True)
    status = ns.wait_reason("Suspending")
    assert true_conditions(status) == {"Reconciling"}
    ended(ns, first, code)
    if code == 137:  # the Job controller may miss it if the pod goes at once
        eventually(lambda: child_failed(ns), what="the child Job fails")
    ns.delete("pods", first)
    status = ns.wait_reason("Suspended")
    assert true_conditions(status) == {"Suspended"}
    kubectl = kubectl_with(plane.kubeconfig)
    for told in ("condition=Suspended", "jsonpath={.status.state}=Suspended"):
        kubectl("wait", "ftj/tune", "-n", ns.name, f"--for={told}", "--timeout=5s")
    assert kstatus(ns.job()) == "Current"
    eventually(lambda: ns.all("pods") == [], what="no pod is left")

    suspend(ns, False)
    second = ns.start_training(other_than=first)
    ns.wait_reason("Training")
    ns.end(second, 0, ns.result())
    done = ns.wait_reason("Succeeded")
    assert (done["state"], done["restarts"]) == ("Complete", 0)
    assert "lastFailure" not in done
    assert len(ns.all("jobs")) == (1 if code == 81 else 2)
    wanted = ["Training", "Suspended", "Training", "Succeeded"]
    first, *told = [e for e in ns.wait_told("Succeeded") if e in ("Created", *wanted)]
    assert first == "Created"  # which is told again where the second pod is slow
    assert [e for e in told if e in wanted] == wanted


def test_a_job_that_begins_suspended_makes_nothing(
    operator: OperatorProcess, ns: Namespace
) -> None:
    ns.submit(suspend=True)
    status = ns.wait_reason("Suspended")
    assert "jobName" not in status
    assert ns.all("jobs") == []
    suspend(ns, False)
    ns.start_training()
    ns.wait_reason("Training")


def test_suspended_while_no_operator_runs(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    pod = ns.start_training()
    ns.wait_reason("Training")
    operator.kill()
    suspend(ns, True)
    operator.start()
    let_go(ns, pod, 81)
    ns.wait_reason("Suspended")


@pytest.mark.parametrize("second_code", [0, 137])
def test_out_of_memory_is_tried_once_more_with_twice_as_much(
    operator: OperatorProcess, ns: Namespace, second_code: int
) -> None:
    ns.submit(resources={"memory": "2Gi"}, runPolicy={"onOutOfMemory": "moreMemory"})
    first = ns.start_training()
    ns.end(first, 137, reason="OOMKilled")
    second = ns.start_training(other_than=first)
    eventually(lambda: ns.status().get("memory") == "4Gi", what="another Job is said")
    status = ns.wait_reason("Training")
    assert status["lastFailure"]["reason"] == "OOMKilled"
    assert (status["memory"], status["restarts"]) == ("4Gi", 1)
    children = {job["metadata"]["name"]: memory(job) for job in ns.all("jobs")}
    assert sorted(children.values()) == ["2Gi", "4Gi"]
    assert children[status["jobName"]] == "4Gi"

    if second_code:
        ns.end(second, second_code, reason="OOMKilled")
        status = ns.wait_reason("OOMKilled")
        assert (status["state"], status["restarts"]) == ("Failed", 2)
    else:
        ns.end(second, 0, ns.result())
        assert ns.wait_reason("Succeeded")["state"] == "Complete"
    assert len(ns.all("jobs")) == 2
    assert len(ns.all("pods")) == 2


def test_a_job_that_waits_too_long_fails_and_starts_nothing_after_it(
    operator: OperatorProcess, ns: Namespace
) -> None:
    ns.submit(runPolicy={"pendingDeadlineSeconds": 4})
    pod = ns.pod()["metadata"]["name"]
    ns.bind(pod)
    ns.wait_in(pod, "ErrImagePull", "not found")
    status = ns.wait_reason("PendingDeadlineExceeded")
    assert true_conditions(status) == {"Failed", "Stalled"}
    assert "ImagePullFailed" in condition(status, "Failed")["message"]
    let_go(ns, pod, 81)
    eventually(lambda: child_failed(ns), what="the child Job has failed")
    assert ns.status() == status


def test_the_ttl_takes_the_job_along_if_asked(operator: OperatorProcess, ns: Namespace) -> None:
    policy = {"ttlSecondsAfterFinished": 1, "ttlPolicy": "job"}
    ns.submit(runPolicy=policy)
    ns.submit("tracked", runPolicy=policy)
    labels = {"argocd.argoproj.io/instance": "jobs"}
    ns.patch("finetunejobs", "tracked", {"metadata": {"labels": labels}})
    for _ in range(2):
        pod = ns.start_training()
        labels = ns.api.get(ns.path("pods", pod))["metadata"]["labels"]
        ns.end(pod, 0, ns.result(labels["embedtune.dev/job-name"]))
    ns.wait_reason("Succeeded", "tracked")
    eventually(lambda: ns.find("finetunejobs", "tune") is None, what="the TTL removes the job")
    eventually(lambda: ns.all("jobs") == [], what="the TTL removes the children")
    assert ns.status("tracked")["state"] == "Complete"


def removed(ns: Namespace) -> bool:
    return ns.find("finetunejobs", "tune") is None


def remover(ns: Namespace) -> str:
    """The pod that removes the model, running."""
    component = "app.kubernetes.io/component"

    def look() -> str | None:
        pods = [p["metadata"] for p in ns.all("pods")]
        return next((p["name"] for p in pods if p["labels"].get(component) == "remover"), None)

    pod: str = eventually(look, what="a pod that removes the model")
    ns.bind(pod)
    ns.run(pod)
    return pod


@pytest.mark.parametrize("how", ["Background", "Foreground"])
def test_the_model_goes_with_its_job(operator: OperatorProcess, ns: Namespace, how: str) -> None:
    made = ns.submit(output=GOES)
    pod = ns.start_training()
    assert ns.wait_reason("Training")["state"] == "Running"
    assert ns.job()["metadata"]["finalizers"] == ["embedtune.dev/remove-model"]
    ns.delete("finetunejobs", "tune", how=how)
    let_go(ns, pod, 81)
    removing = remover(ns)
    (container,) = ns.api.get(ns.path("pods", removing))["spec"]["containers"]
    assert container["command"][-1].endswith(f"/{ns.name}/tune/{made['metadata']['uid']}/")
    assert not removed(ns)
    ns.end(removing, 0)
    eventually(lambda: removed(ns), what="the job goes")
    assert ns.events()[-1] == "ModelRemoved"


def test_what_cannot_be_removed_is_told(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(output=GOES)
    ns.end(ns.start_training(), 0, ns.result())
    ns.wait_reason("Succeeded")
    ns.delete("finetunejobs", "tune")
    ns.end(remover(ns), 68, "embedtune: the key may not delete")
    eventually(lambda: removed(ns), what="the job goes")
    told = [e for e in ns.all("events") if e["reason"] == "ModelNotRemoved"]
    assert [e["type"] for e in told] == ["Warning"]
    assert "the key may not delete" in told[0]["message"]


def test_a_namespace_is_not_held_back(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit(output=GOES)
    ns.pod()
    ns.api.call("DELETE", f"/api/v1/namespaces/{ns.name}", {})

    def gone() -> bool:
        try:
            ns.api.get(f"/api/v1/namespaces/{ns.name}")
        except ApiError as error:
            return error.status == 404
        return False

    eventually(gone, what="the namespace goes", timeout_s=60)


def test_applying_the_same_file_again_changes_nothing(
    plane: ControlPlane, operator: OperatorProcess, ns: Namespace
) -> None:
    """Neither the finalizer nor the status is a difference to who applies the file."""
    kubectl = kubectl_with(plane.kubeconfig)
    made = ns.submit("other", output=GOES, suspend=True)
    body = {key: made[key] for key in ("apiVersion", "kind", "spec")}
    file = json.dumps(body | {"metadata": {"name": "tune", "namespace": ns.name}})
    kubectl("apply", "--server-side", "-f", "-", stdin=file)
    ns.wait_reason("Suspended")
    assert ns.job()["metadata"]["finalizers"]
    diff = kubectl("diff", "--server-side", "-f", "-", stdin=file, check=False)
    assert (diff.returncode, diff.stdout) == (0, "")
