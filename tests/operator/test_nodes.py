"""A job of several nodes: its children, what is said of its pods, and which of them failed."""

import json
from dataclasses import replace
from typing import Any

import pytest

from embedtune_api.job import NAME_MAX_NODES, FineTuneJob
from embedtune_api.status import FineTuneJobStatus
from embedtune_operator.blueprint import blueprint
from embedtune_operator.children import Pod
from embedtune_operator.manifests import child_job, service
from embedtune_operator.names import ATTEMPTS_MAX, child_name, service_name
from embedtune_operator.observe import Observed
from tests.operator.objects import CHILD, SETTINGS, UID, child, ended, golden, pod, raw_job, running
from tests.operator.objects import stored as stored_job
from tests.operator.test_decide import EVICTION, GONE, OLD, PROGRESS, RESULT, UNSCHEDULABLE, plan
from tests.operator.world import condition, failure

TWO: dict[str, Any] = {"parallelism": {"nodes": 2}}
CHILD_SPEC = {"completions": 2}
LOST = failure("PeerLost", "node 1 has gone")
BROKEN = failure("InternalError", "a defect")


def at(index: int, found: Pod) -> Pod:
    """The pod of one node."""
    name = f"{CHILD}-{index}-{found.id.name[-5:]}"
    return replace(found, index=index, id=replace(found.id, name=name, uid=f"uid-of-{name}"))


def stored(status: Any = None, **spec: Any) -> Any:
    return stored_job(status, **TWO, **spec)


def two_child(*conditions: tuple[str, str], **more: Any) -> Any:
    return child(*conditions, spec=CHILD_SPEC | more.pop("spec", {}), **more)


PEER = ended(81, LOST, finished="2026-11-24T11:59:51Z")
CASES: dict[str, Observed] = {
    "both-run": Observed(two_child(), (at(0, running()), at(1, running())), PROGRESS),
    "one-seen": Observed(two_child(), (at(0, running()),)),
    "one-unschedulable": Observed(
        two_child(), (at(0, running()), at(1, pod(node="", conditions=[UNSCHEDULABLE])))
    ),
    "one-starting": Observed(two_child(), (at(0, running()), at(1, pod()))),
    "one-failed": Observed(two_child(failed=1), (at(0, running()), at(1, ended(82, BROKEN)))),
    "both-ended": Observed(two_child(failed=1), (at(0, PEER), at(1, ended(82, BROKEN)))),
    "peer-first-seen": Observed(two_child(), (at(0, PEER), at(1, running()))),
    "parted": Observed(two_child(), (at(0, PEER), at(1, PEER))),
    "one-evicted": Observed(
        two_child(), (at(0, PEER), at(1, ended(137, meta=GONE, conditions=[EVICTION])))
    ),
    "both-deleted": Observed(two_child(), (at(0, running(meta=OLD)), at(1, running(meta=OLD)))),
    "second-attempt": Observed(
        two_child(failed=1),
        (
            at(0, PEER),
            at(1, ended(82, BROKEN)),
            at(0, running(name="b-00000")),
            at(1, running(name="b-00001")),
        ),
    ),
    "first-done": Observed(two_child(), (at(0, ended(0, RESULT, "Completed")), at(1, running()))),
}


@pytest.mark.parametrize("case", CASES)
def test_status(case: str) -> None:
    found = plan(stored(), CASES[case])
    assert found.status is not None
    FineTuneJobStatus.parse(found.status)
    golden(
        f"nodes/{case}.yaml",
        {
            "events": [f"{'Warning' if e.warning else 'Normal'} {e.reason}" for e in found.events],
            "status": found.status,
        },
    )
    second = plan(stored(found.status), CASES[case])
    assert second.status is None, "a second look changes nothing"


def said(case: str, status: Any = None) -> Any:
    found = plan(stored(status), CASES[case]).status
    assert found is not None
    return found


def test_it_runs_when_all_pods_do() -> None:
    assert said("both-run")["state"] == "Running"
    for case in ("one-seen", "one-starting", "one-failed", "peer-first-seen"):
        assert said(case)["state"] == "Pending", case


FEWER: dict[str, Any] = {"parallelism": {"nodes": 2, "minNodes": 1}}


def said_of_fewer(case: str) -> Any:
    found = plan(stored_job(**FEWER), CASES[case]).status
    assert found is not None
    return found


def test_where_some_may_be_missing_it_runs_without_them() -> None:
    for case in ("one-seen", "one-starting", "one-unschedulable"):
        status = said_of_fewer(case)
        assert status["state"] == "Running", case
        assert "1 of 2 pods" in condition(status, "Running")["message"]
    first = Observed(
        two_child(), (at(0, pod(node="", conditions=[UNSCHEDULABLE])), at(1, running()))
    )
    found = plan(stored_job(**FEWER), first).status
    assert found is not None
    assert found["reason"] == "Unschedulable", "nothing begins without the first one"


def test_pods_that_make_room_for_a_late_one_have_not_failed() -> None:
    made_room = {"version": 1, "failure": {"reason": "Regrouped", "message": "one has come"}}
    pods = (at(0, ended(81, json.dumps(made_room))), at(1, PEER), at(2, running()))
    three = {"parallelism": {"nodes": 3, "minNodes": 2}}
    before = plan(
        stored_job(**three), Observed(two_child(), (at(0, running()), at(1, running())))
    ).status
    found = plan(stored_job(before, **three), Observed(child(spec={"completions": 3}), pods)).status
    assert found is not None
    assert (found["reason"], found["restarts"]) == ("Retrying", 0)
    assert "lastFailure" not in found


def test_the_pods_are_told_how_few_may_train() -> None:
    assert variables(made(**FEWER))["EMBEDTUNE_MIN_NODES"] == "1"
    assert "EMBEDTUNE_MIN_NODES" not in variables(made(**TWO))


def test_what_holds_one_up_is_told_with_its_number() -> None:
    status = said("one-unschedulable")
    assert status["reason"] == "Unschedulable"
    assert condition(status, "Running")["message"].startswith("node 1: no node can take the pod")


def test_one_failure_is_counted_once_and_is_the_causes() -> None:
    known = said("both-run")
    for case in ("one-failed", "both-ended", "second-attempt"):
        status = said(case, known)
        assert status["restarts"] == 1, case
        assert status["lastFailure"]["podName"].startswith(f"{CHILD}-1-"), case
        assert status["lastFailure"]["reason"] == "InternalError", case


def test_a_peer_that_is_seen_first_is_not_taken_for_the_cause() -> None:
    first = said("peer-first-seen", said("both-run"))
    assert (first["restarts"], first.get("lastFailure")) == (0, None)
    then = said("both-ended", first)
    assert then["lastFailure"]["reason"] == "InternalError"


def test_when_nobody_failed_by_itself_it_is_told_all_the_same() -> None:
    status = said("parted", said("both-run"))
    assert (status["restarts"], status["lastFailure"]["reason"]) == (1, "PeerLost")


def test_pods_that_are_taken_together_are_one_failure() -> None:
    status = said("both-deleted", said("both-run"))
    assert (status["reason"], status["restarts"]) == ("Retrying", 1)
    assert said("one-evicted", said("both-run"))["lastFailure"]["reason"] == "Evicted"


def test_a_pod_that_is_taken_when_the_first_has_gone_already_is_the_same_failure() -> None:
    """Its deletion is dated to when its grace period ends."""
    began = {"creationTimestamp": OLD["creationTimestamp"]}
    gone = Observed(two_child(), (at(0, running(meta=began)), at(1, running(meta=OLD))))
    first = plan(stored(said("both-run")), gone).status
    late = OLD | {"deletionTimestamp": "2026-11-24T12:00:59Z"}
    then = Observed(
        two_child(("Failed", "PodFailurePolicy"), failed=1),
        (at(0, running(meta=late)),),
        confirmed=True,
    )
    found = plan(stored(first), then).status
    assert first is not None
    assert found is not None
    assert (first["restarts"], found["restarts"]) == (1, 1)
    assert found["lastFailure"] == first["lastFailure"]


def test_a_later_failure_of_another_node_is_another() -> None:
    pods = (
        *CASES["both-ended"].pods,
        at(0, ended(80, "s3", name="b-00000", finished="2026-11-24T11:59:58Z")),
        at(1, ended(81, LOST, name="b-00001", finished="2026-11-24T11:59:59Z")),
    )
    made = [replace(p, id=replace(p.id, created="2026-11-24T11:59:55Z")) for p in pods[2:]]
    observed = Observed(two_child(failed=2), (*pods[:2], *made))
    found = plan(stored(said("both-ended")), observed).status
    assert found is not None
    assert (found["restarts"], found["lastFailure"]["exitCode"]) == (2, 80)


def test_a_signal_is_not_excused_by_what_the_others_of_its_pod_said() -> None:
    """Of two processes in a pod one was lost without a word, and the other has told that."""
    segfault = Observed(two_child(failed=1), (at(0, PEER), at(1, ended(139, LOST))))
    found = plan(stored(said("both-run")), segfault).status
    assert found is not None
    assert found["lastFailure"]["reason"] == "UnknownExit"


def test_the_first_nodes_result_is_the_jobs() -> None:
    done = said("first-done", said("both-run"))
    assert (done["state"], done["restarts"]) == ("Complete", 0)
    other = Observed(two_child(), (at(0, running()), at(1, ended(0, RESULT, "Completed"))))
    found = plan(stored(said("both-run")), other).status
    assert found is not None
    assert found["state"] == "Pending"


def made(attempt: int = 1, **spec: Any) -> Any:
    job = FineTuneJob.parse(raw_job(**spec))
    return child_job(blueprint(job, None, SETTINGS), attempt)


def test_children() -> None:
    job = FineTuneJob.parse(raw_job(**TWO, resources={"gpus": 4, "cpu": "16"}))
    golden("children/nodes.job.yaml", child_job(blueprint(job, None, SETTINGS)))
    golden("children/nodes.service.yaml", service(job))
    kinds = [c["kind"] for c in plan(stored(), Observed(confirmed=True)).children]
    assert kinds == ["ConfigMap", "Service", "Job"], "a pod finds its name as soon as it runs"


def trainer(job: Any) -> Any:
    return job["spec"]["template"]["spec"]["containers"][0]


def variables(job: Any) -> dict[str, str]:
    return {e["name"]: e["value"] for e in trainer(job)["env"] if "value" in e}


def test_pods_of_a_later_attempt_meet_at_a_place_of_their_own() -> None:
    first, second = (variables(made(n, **TWO))["EMBEDTUNE_RENDEZVOUS"] for n in (1, 2))
    assert first == f"{CHILD}-0.ftj-{CHILD}:29400"
    assert second == f"{CHILD}-2-0.ftj-{CHILD}:29400"


@pytest.mark.parametrize(
    ("spec", "processes"),
    [
        ({}, None),
        ({"resources": {"gpus": 1}}, None),
        ({"resources": {"gpus": 4}}, 4),
        ({"resources": {"gpus": 4}, "parallelism": {"processesPerNode": 1}}, None),
        ({"parallelism": {"processesPerNode": 3}}, 3),
        ({"parallelism": {"nodes": 2}}, 1),
    ],
)
def test_processes_share_a_pod(spec: dict[str, Any], processes: int | None) -> None:
    job = made(**{"resources": {"cpu": "6"}} | spec)
    command = trainer(job)["command"]
    launched = [word for word in command if word.startswith("--nproc-per-node=")]
    assert launched == ([f"--nproc-per-node={processes}"] if processes else [])
    assert command[-2:] == ["-m", "embedtune_trainer"]


def test_processes_share_a_pods_cpus() -> None:
    spec = {"resources": {"cpu": "6"}, "parallelism": {"processesPerNode": 3}}
    assert variables(made(**spec))["OMP_NUM_THREADS"] == "2"


def test_the_longest_name_still_names_a_host() -> None:
    job = child_name("x" * NAME_MAX_NODES, UID, ATTEMPTS_MAX)
    assert len(f"{job}-99") <= 63
    assert len(service_name("9" * NAME_MAX_NODES, UID)) <= 63
    assert service_name("9", UID)[0].isalpha(), "a Service's name begins with a letter"
