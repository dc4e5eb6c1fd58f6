"""Jobs in the queues of Kueue itself, whose word on when they run is the only one.

Kueue's webhooks are asked about every Job, pod and Workload here, so that the control plane is one
of its own. `make test-kueue` builds Kueue and runs these; kueue.py plays its part in `make test`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.controlplane import ControlPlane, Options
from tests.conftest import install_crds, kubectl_with
from tests.operator.kueue_process import USER, KueueProcess
from tests.operator.kueue_queue import (
    KUEUE,
    ONE,
    PRIORITIES,
    PRIORITY,
    SPOT,
    TEAM,
    Queue,
    create,
    owner,
    writers_of_suspend,
)
from tests.operator.test_nodes_live import TWO, let_go, start_both
from tests.operator.test_runtimes_live import make
from tests.operator.world import (
    NODE,
    JsonObject,
    Namespace,
    OperatorProcess,
    condition,
    eventually,
)

pytestmark = [pytest.mark.controlplane, pytest.mark.kueue]

AUDIT: JsonObject = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Request",
            "verbs": ["create", "update", "patch"],
            "resources": [
                {"group": "batch", "resources": ["jobs"]},
                {"group": "kueue.x-k8s.io", "resources": ["workloads"]},
            ],
        },
        {"level": "None"},
    ],
}


@pytest.fixture(scope="module")
def audit_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Who wrote what into Jobs and Workloads, one JSON object a line."""
    return tmp_path_factory.mktemp("kueue-audit") / "log"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, audit_log: Path) -> Iterator[ControlPlane]:
    """A control plane with Kueue, a flavour of nodes and two priorities."""
    folder = tmp_path_factory.mktemp("kueue-plane")
    policy = folder / "audit.yaml"
    policy.write_text(json.dumps(AUDIT))
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={audit_log}")
    options = Options(controller_manager=True, certificates=(USER,), apiserver_flags=flags)
    with ControlPlane(folder, options=options) as plane:
        install_crds(kubectl_with(plane.kubeconfig))
        plane.client().call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        with KueueProcess(plane, tmp_path_factory.mktemp("kueue")):
            create(plane, "resourceflavors", "ResourceFlavor", "spot", {"spec": SPOT})
            for name, value in PRIORITIES.items():
                kind = "WorkloadPriorityClass"
                create(plane, "workloadpriorityclasses", kind, name, {"value": value})
            yield plane


@pytest.fixture(scope="module")
def running_operator(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    process = OperatorProcess(plane, tmp_path_factory.mktemp("kueue-operator") / "operator.log")
    process.start()
    yield process
    process.kill()


@pytest.fixture
def operator(running_operator: OperatorProcess) -> OperatorProcess:
    return running_operator


@pytest.fixture
def queue(plane: ControlPlane, ns: Namespace, audit_log: Path) -> Queue:
    others = Namespace(plane.client(), f"{ns.name}-others").create()
    return Queue(plane, ns, others, audit_log).create()


def wait_held(ns: Namespace) -> None:
    """The job waits in its queue, without a pod."""
    assert ns.wait_reason("Queued")["state"] == "Pending"
    assert ns.child()["spec"]["suspend"] is True
    assert ns.all("pods") == []


def finish(ns: Namespace, pod: str) -> None:
    ns.end(pod, 0, ns.result())
    status = ns.wait_reason("Succeeded")
    assert (status["restarts"], status.get("lastFailure")) == (0, None)


def test_it_waits_for_room_and_runs_on_its_flavours_nodes(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    queue.take_room()
    queue.wait_taken()
    ns.submit(labels=TEAM, **ONE)
    wait_held(ns)
    assert queue.workload()["spec"]["queueName"] == "team"
    older = KUEUE.replace("v1beta2", "v1beta1")
    assert ns.api.get(f"{older}/namespaces/{ns.name}/workloads")["items"], "Kueue converts it"
    queue.free_room()
    pod = ns.start_training()
    ns.wait_reason("Training")
    spec = ns.api.get(ns.path("pods", pod))["spec"]
    assert spec["nodeSelector"] == SPOT["nodeLabels"]
    assert SPOT["tolerations"][0] in spec["tolerations"]
    assert queue.says("Admitted")
    ns.patch("finetunejobs", "tune", {"spec": {"runPolicy": {"backoffLimit": 7}}})
    eventually(lambda: ns.child()["spec"]["backoffLimit"] == 7, what="the policy is handed on")
    assert ns.child()["spec"]["template"]["spec"]["nodeSelector"] == SPOT["nodeLabels"]
    finish(ns, pod)
    eventually(lambda: queue.says("Finished"), what="Kueue has seen the end")
    assert queue.suspend_changed() == []
    assert writers_of_suspend(ns.child()) == {USER.name}


def test_what_is_urgent_takes_its_place_and_it_goes_on_afterwards(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    ns.submit(labels=TEAM | {PRIORITY: "usual"}, **ONE)
    pod = ns.start_training()
    ns.wait_reason("Training")
    assert queue.workload()["spec"]["priority"] == PRIORITIES["usual"]
    queue.take_room("urgent")
    status = ns.wait_reason("Queued")
    assert "writes a checkpoint" in condition(status, "Running")["message"]
    let_go(ns, pod)
    queue.wait_taken()
    eventually(
        lambda: "has not let the Job" in condition(ns.status(), "Running")["message"],
        what="it waits again",
    )
    wait_held(ns)
    queue.free_room()
    again = ns.start_training(other_than=pod)
    status = ns.wait_reason("Training")
    assert (status["restarts"], status.get("lastFailure")) == (0, None)
    finish(ns, again)
    assert len(ns.all("jobs")) == 1
    assert queue.suspend_changed() == []
    assert writers_of_suspend(ns.child()) == {USER.name}


def test_an_urgent_job_takes_the_others_place(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    queue.take_room()
    queue.wait_taken()
    ns.submit(labels=TEAM | {PRIORITY: "urgent"}, **ONE)
    pod = ns.start_training()
    ns.wait_reason("Training")
    assert queue.others.child()["spec"]["suspend"] is True
    finish(ns, pod)
    queue.wait_taken()


def test_its_user_suspends_it_and_others_have_its_place(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    ns.submit(labels=TEAM, **ONE)
    pod = ns.start_training()
    ns.wait_reason("Training")
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": True}})
    eventually(lambda: not queue.workload()["spec"]["active"], what="Kueue is told")
    let_go(ns, pod)
    ns.wait_reason("Suspended")
    queue.take_room()
    queue.wait_taken()
    assert ns.child()["spec"]["suspend"] is True
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": False}})
    eventually(lambda: queue.workload()["spec"]["active"], what="Kueue is told again")
    wait_held(ns)
    queue.free_room()
    again = ns.start_training(other_than=pod)
    status = ns.wait_reason("Training")
    assert (status["restarts"], status.get("lastFailure")) == (0, None)
    finish(ns, again)
    assert queue.suspend_changed() == []
    assert writers_of_suspend(ns.child()) == {USER.name}
    told = queue.written("workloads")
    words = [entry["requestObject"]["spec"] for entry in told]
    assert words == [{"active": False}, {"active": True}]
    # v1beta1 would be refused: its rule on priorityClassSource fails for an admitted Workload
    assert all(entry["requestURI"].startswith(KUEUE) for entry in told)


def test_one_that_is_suspended_while_it_waits_is_passed_over(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    queue.take_room()
    queue.wait_taken()
    ns.submit(labels=TEAM, **ONE)
    wait_held(ns)
    queue.workload()
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": True}})
    ns.wait_reason("Suspended")
    queue.free_room()
    queue.take_room(cpus=1)
    queue.wait_taken()  # beside it there is room for the job, too
    assert ns.child()["spec"]["suspend"] is True
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": False}})
    finish(ns, ns.start_training())
    assert queue.suspend_changed() == []


@pytest.mark.parametrize("of", ["runtime", "namespace"])
def test_its_queue_may_be_the_runtimes_or_the_namespaces(
    operator: OperatorProcess, ns: Namespace, queue: Queue, of: str
) -> None:
    """Kueue gives a LocalQueue that is called `default` to every Job that names none."""
    if of == "runtime":
        make(ns, "team", default=True, queueName="team")
    else:
        queue.local(ns, "default")
    queue.take_room()
    queue.wait_taken()
    ns.submit(**ONE)
    wait_held(ns)
    assert queue.workload()["spec"]["queueName"] == {"runtime": "team"}.get(of, "default")
    queue.free_room()
    finish(ns, ns.start_training())
    assert queue.suspend_changed() == []


def test_without_a_queue_it_waits_for_nothing_and_says_so(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    """Where Kueue suspends such a Job again and again, the operator does not resume it."""
    ns.submit(**ONE)
    status = ns.wait_reason("Queued")
    assert "Kueue does so where every Job" in condition(status, "Stalled")["message"]
    seen = queue.workload()["metadata"]["uid"]
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": True}})
    ns.wait_reason("Suspended")
    ns.patch("finetunejobs", "tune", {"spec": {"suspend": False}})
    ns.wait_reason("Queued")
    eventually(lambda: ns.child()["spec"]["suspend"], what="Kueue suspends it")
    assert queue.suspend_changed() == [False], "once, for its user"
    assert queue.workload()["metadata"]["uid"] == seen


def test_what_is_deleted_leaves_no_workload_and_no_room_taken(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    ns.submit(labels=TEAM, **ONE)
    pod = ns.start_training()
    ns.wait_reason("Training")
    queue.take_room()
    ns.delete("finetunejobs", "tune")
    eventually(lambda: not queue.workloads(), what="the Workload goes", timeout_s=60)
    queue.wait_taken()
    ns.end(pod, 81)
    eventually(lambda: not ns.all("jobs"), what="the Job goes")


def test_its_model_is_removed_after_kueue_has_stopped_it(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    queue.local(ns, "default")  # for the pod that removes it
    ns.submit(labels=TEAM, output={"uri": "s3://models/tuned", "retain": False}, **ONE)
    pod = ns.start_training()
    ns.wait_reason("Training")
    ns.delete("finetunejobs", "tune")
    let_go(ns, pod)
    remover = ns.start_training(other_than=pod)
    name = ns.status()["jobName"]
    assert remover.startswith(f"{name}-r")
    ns.end(remover, 0)
    eventually(lambda: ns.find("finetunejobs", "tune") is None, what="the job goes")
    left = {f"{name}-r"}
    eventually(
        lambda: set(map(owner, queue.workloads())) == left, what="the Workload goes", timeout_s=60
    )


def test_two_nodes_are_let_in_together(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    queue.take_room(cpus=1)
    queue.wait_taken()  # which leaves room for one of them
    ns.submit(labels=TEAM, **TWO, **ONE)
    wait_held(ns)
    (pods,) = queue.workload()["spec"]["podSets"]
    assert pods["count"] == 2
    assert ns.all("pods") == []
    queue.free_room()
    first, second = start_both(ns)
    ns.wait_reason("Training")
    assert len(queue.workloads()) == 1
    queue.take_room("urgent", cpus=1)
    ns.wait_reason("Queued")
    let_go(ns, first, second)
    queue.wait_taken()
    queue.free_room()
    again = start_both(ns, first, second)
    ns.wait_reason("Training")
    finish(ns, again[0])
    assert queue.suspend_changed() == []


def test_more_memory_is_asked_of_the_queue_again(
    operator: OperatorProcess, ns: Namespace, queue: Queue
) -> None:
    ns.submit(labels=TEAM, runPolicy={"onOutOfMemory": "moreMemory"}, **ONE)
    pod = ns.start_training()
    ns.wait_reason("Training")
    ns.end(pod, 137, reason="OOMKilled")
    again = ns.start_training(other_than=pod)
    status = ns.wait_reason("Training")
    assert status["memory"] == "2Gi"
    ns.end(again, 0, ns.result())
    ns.wait_reason("Succeeded")
    asked = [
        one["spec"]["podSets"][0]["template"]["spec"]["containers"][0]["resources"]["requests"]
        for one in queue.workloads()
    ]
    assert sorted(each["memory"] for each in asked) == ["1Gi", "2Gi"]
    assert queue.suspend_changed() == []
