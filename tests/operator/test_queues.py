"""A job in a queue of Kueue's: whose spec.suspend is, what is said, and what is handed on."""

from typing import Any

import pytest

from embedtune_operator.apply import Applier
from embedtune_operator.cache import Cache
from embedtune_operator.observe import Observed
from embedtune_operator.removal import decide_removal
from embedtune_operator.views import StoredJob
from tests.operator.fake_api import FakeApi
from tests.operator.objects import CHILD, NOW, SETTINGS, child, golden, raw_job, running, stored
from tests.operator.test_decide import GONE, LATER, OLD, PROGRESS, plan
from tests.operator.world import condition

QUEUE = {"kueue.x-k8s.io/queue-name": "team"}
HELD: dict[str, Any] = {"suspend": True}
OTHERS: dict[str, Any] = {
    "labels": QUEUE
    | {
        "kueue.x-k8s.io/priority-class": "high",
        "scheduling.x-k8s.io/pod-group": "tune",
        "team": "search",
    },
    "annotations": {
        "kueue.x-k8s.io/podset-required-topology": "cloud.provider.com/rack",
        "provreq.kueue.x-k8s.io/maxRunDurationSeconds": "600",
        "scheduling.k8s.io/group-name": "tune",
        "note": "mine",
    },
}


def queued(*conditions: tuple[str, str], **more: Any) -> Any:
    return child(*conditions, labels=QUEUE, **more)


WAITS = Observed(queued(("Suspended", "JobSuspended"), spec=HELD))
RUNS = Observed(queued(resumed="2026-11-24T11:59:58Z"), (running(),), PROGRESS)
PREEMPTED = Observed(queued(spec=HELD), (running(meta=GONE),), PROGRESS)


def test_its_job_is_made_suspended_with_what_schedulers_go_by() -> None:
    found = plan(stored(meta=OTHERS), Observed(confirmed=True))
    job = found.children[-1]
    golden(
        "children/queued.yaml",
        {
            "metadata": job["metadata"],
            "suspend": job["spec"]["suspend"],
            "template": job["spec"]["template"]["metadata"],
        },
    )


def test_a_job_without_a_queue_is_not_made_suspended() -> None:
    job = plan(stored(), Observed(confirmed=True)).children[-1]
    assert "suspend" not in job["spec"]


@pytest.mark.parametrize("observed", [WAITS, RUNS, PREEMPTED], ids=["waits", "runs", "preempted"])
def test_suspend_is_kueues_to_change(observed: Observed) -> None:
    found = plan(stored(), observed)
    assert "suspend" not in (found.child_patch or {}).get("spec", {})
    assert found.children == ()
    assert found.may_run is None


def test_what_is_said_while_it_waits() -> None:
    status = plan(stored(), WAITS).status
    assert status is not None
    assert (status["state"], status["reason"]) == ("Pending", "Queued")
    assert "the queue team" in condition(status, "Running")["message"]


def test_a_preempted_job_has_not_failed_and_waits_again() -> None:
    training = plan(stored(), RUNS).status
    status = plan(stored(training), PREEMPTED).status
    assert status is not None
    assert (status["state"], status["reason"], status["restarts"]) == ("Pending", "Queued", 0)
    assert "writes a checkpoint" in condition(status, "Running")["message"]
    back = Observed(queued(resumed="2026-11-24T11:59:59Z"), (running(meta=OLD),))
    again = plan(stored(status), back).status
    assert again is not None
    assert (again["reason"], again["restarts"]) == ("Created", 0)


def test_waiting_in_the_queue_is_not_held_against_it() -> None:
    policy: dict[str, Any] = {"runPolicy": {"pendingDeadlineSeconds": 5}}
    first = plan(stored(**policy), WAITS).status
    later = plan(stored(first, **policy), WAITS, LATER)
    assert later.status is None, "it still waits"
    let_in = Observed(queued(resumed=LATER.isoformat()))
    status = plan(stored(first, **policy), let_in, LATER).status
    assert status is not None
    assert status["state"] == "Pending", "its time begins when it is let in"
    over = plan(stored(first, **policy), Observed(queued(resumed="2026-11-24T12:00:01Z")), LATER)
    assert over.status is not None
    assert over.status["reason"] == "PendingDeadlineExceeded"


def test_the_user_suspends_by_kueues_own_word() -> None:
    training = plan(stored(), RUNS).status
    told = plan(stored(training, suspend=True), RUNS)
    assert told.may_run is False
    assert told.child_patch is None, "Kueue stops it, not the operator"
    known = told.status
    assert plan(stored(known, suspend=True), PREEMPTED).may_run is None, "once"
    # Kueue had let it in again before it was told
    assert plan(stored(known, suspend=True), RUNS).may_run is False


def test_a_job_that_waits_can_be_suspended_and_is_not_let_in() -> None:
    waiting = plan(stored(), WAITS).status
    told = plan(stored(waiting, suspend=True), WAITS)
    assert told.may_run is False
    assert told.child_patch is None


def test_resuming_hands_it_back_to_the_queue() -> None:
    suspended = plan(stored(suspend=True), WAITS).status
    found = plan(stored(suspended), WAITS)
    assert found.may_run is True
    assert found.child_patch is None, "Kueue lets it in, not the operator"
    assert found.status is not None
    assert (found.status["state"], found.status["reason"]) == ("Pending", "Queued")


def test_a_deleted_job_is_not_let_in_again() -> None:
    raw = raw_job({"jobName": CHILD}, output={"uri": "s3://models/tuned", "retain": False})
    raw["metadata"]["deletionTimestamp"] = "2026-11-24T11:59:59Z"
    found = decide_removal(StoredJob.of(raw), RUNS, SETTINGS, NOW)
    assert found.may_run is False
    assert found.child_patch is None, "Kueue stops it, not the operator"
    waiting = decide_removal(StoredJob.of(raw), WAITS, SETTINGS, NOW)
    assert waiting.may_run is False, "while its model is removed"
    assert [c["metadata"]["name"] for c in waiting.children] == [f"{CHILD}-r"]


@pytest.mark.parametrize("served", ["v1beta1", "v1beta2", None])
async def test_kueue_is_told_in_the_version_that_it_prefers(served: str | None) -> None:
    """One whose Workloads stand as they should is not written to; where there is none, nothing."""
    api = FakeApi()
    workloads = f"/apis/kueue.x-k8s.io/{served}/namespaces/search/workloads"
    if served is not None:
        preferred = {"groupVersion": f"kueue.x-k8s.io/{served}", "version": served}
        api.objects["/apis/kueue.x-k8s.io"] = {"preferredVersion": preferred}
        for name, spec in {"active": {}, "told": {"active": False}}.items():
            api.put(f"{workloads}/{name}", {"metadata": {"name": name}, "spec": spec})
    await Applier(api, Cache()).let_run(queued(), may=False)
    assert api.writes == ([f"merge {workloads}/active"] if served else [])
    assert served is None or api.objects[f"{workloads}/active"]["spec"] == {"active": False}
