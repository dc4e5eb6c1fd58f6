"""What is tried again, with what, how often, and what counts."""

from typing import Any

import pytest

from embedtune_api import contract
from embedtune_api.job import FineTuneJob
from embedtune_operator.blueprint import blueprint
from embedtune_operator.ends import twice
from embedtune_operator.manifests import child_job
from embedtune_operator.names import ATTEMPTS_MAX, attempt_of, child_name
from embedtune_operator.observe import Observed
from tests.operator.objects import (
    CHILD,
    SETTINGS,
    UID,
    child,
    ended,
    golden,
    raw_job,
    running,
    stored,
)
from tests.operator.test_decide import CASES, EVICTION, GONE, plan

MORE: dict[str, Any] = {"runPolicy": {"onOutOfMemory": "moreMemory", "ttlSecondsAfterFinished": 9}}
OOM = CASES["oom"]


def memory(manifest: dict[str, Any]) -> str:
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    found: str = container["resources"]["limits"]["memory"]
    return found


def test_out_of_memory_is_tried_once_more_with_twice_as_much() -> None:
    first = plan(stored(resources={"memory": "2Gi"}, **MORE), OOM)
    assert first.status is not None
    golden("status/oom-more-memory.yaml", {"status": first.status})
    config_map, job = first.children
    assert (config_map["metadata"]["name"], job["metadata"]["name"]) == (CHILD, f"{CHILD}-2")
    assert memory(job) == "4Gi"
    assert first.child_patch == {"spec": {"ttlSecondsAfterFinished": 9}}, "of the one before"

    second = plan(stored(first.status, **MORE), OOM).status
    assert second is not None
    assert (second["state"], second["reason"]) == ("Failed", "OOMKilled")


def test_a_second_child_that_was_deleted_is_made_again_as_it_was() -> None:
    first = plan(stored(resources={"memory": "2Gi"}, **MORE), OOM).status
    again = plan(stored(first, resources={"memory": "2Gi"}, **MORE), Observed(confirmed=True))
    assert [memory(c) for c in again.children if c["kind"] == "Job"] == ["4Gi"]
    assert again.children[1]["metadata"]["name"] == f"{CHILD}-2"


def test_without_leave_out_of_memory_is_final() -> None:
    found = plan(stored(), OOM)
    assert found.children == ()
    assert found.status is not None
    assert (found.status["state"], found.status["reason"]) == ("Failed", "OOMKilled")


def test_what_fills_the_work_folder_is_not_tried_again() -> None:
    """The trainer, told to go, may end by an exit code that the Job controller retries for ever."""
    found = plan(stored(), CASES["overfull"])
    assert found.child_patch == {"spec": {"activeDeadlineSeconds": 1}}
    by_its_side = Observed(child(), (*CASES["overfull"].pods, running(name="b")))
    again = plan(stored(), by_its_side).status
    assert again is not None
    assert (again["state"], again["reason"]) == ("Failed", "EphemeralStorageExceeded")


def test_a_pod_that_overran_its_grace_period_is_followed_by_another() -> None:
    killed = Observed(
        child(("Failed", "PodFailurePolicy")), (ended(137, meta=GONE),), confirmed=True
    )
    found = plan(stored(), killed)
    assert found.status is not None
    golden("status/killed-after-deletion.yaml", {"status": found.status})
    assert memory(found.children[1]) == SETTINGS.default_memory
    last = {"jobName": child_name("tune", UID, ATTEMPTS_MAX)}
    given_up = plan(stored(last), killed).status
    assert given_up is not None
    assert (given_up["state"], given_up["reason"]) == ("Failed", "PodDeleted")


def test_final_by_its_own_word_though_it_was_deleted() -> None:
    found = plan(
        stored(),
        Observed(child(("Failed", "PodFailurePolicy")), (ended(65, meta=GONE),), confirmed=True),
    )
    assert found.children == ()
    assert found.status is not None
    assert found.status["reason"] == "BadData"


def test_every_failure_is_counted_once_though_pods_vanish() -> None:
    status = None
    for number in range(3):
        time = f"2026-11-24T11:59:5{number}Z"
        gone = Observed(
            child(), (ended(137, name=f"pod-{number}", conditions=[EVICTION], finished=time),)
        )
        for _ in range(2):
            status = plan(stored(status), gone).status or status
    assert status is not None
    assert status["restarts"] == 3
    assert status["lastFailure"]["podName"] == "pod-2"
    older = Observed(child(), (ended(80, name="pod-0", finished="2026-11-24T11:59:50Z"),))
    kept = plan(stored(status), older).status or status
    assert (kept["restarts"], kept["lastFailure"]["podName"]) == (3, "pod-2")


def test_pod_failure_policy_in_its_order() -> None:
    made_by = blueprint(FineTuneJob.parse(raw_job()), None, SETTINGS)
    rules = child_job(made_by)["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "Ignore", "FailJob"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    ignored, final = (set(rule["onExitCodes"]["values"]) for rule in rules[1:])
    assert not ignored & final
    retried = {int(c) for c in contract.ExitCode if c} - ignored - final
    assert retried == {80, 82}


@pytest.mark.parametrize(
    ("quantity", "doubled"),
    [("4Gi", "8Gi"), ("1.5Gi", "3Gi"), ("500M", "1000M"), ("4294967296", "8589934592")],
)
def test_twice(quantity: str, doubled: str) -> None:
    assert twice(quantity) == doubled


def test_attempts_have_names_of_their_own_that_fit() -> None:
    longest = "x" * 52
    names = [child_name(longest, UID, n) for n in range(1, ATTEMPTS_MAX + 1)]
    assert len(set(names)) == ATTEMPTS_MAX
    assert max(map(len, names)) <= 63
    assert [attempt_of(name, longest, UID) for name in names] == [*range(1, ATTEMPTS_MAX + 1)]
    for other in (None, "", "x-2", 3, names[0] + "-99"):
        assert attempt_of(other, longest, UID) == 1  # type: ignore[arg-type]


def test_a_failure_that_the_job_counts_before_its_pod_is_seen_is_counted_once() -> None:
    early = Observed(child(failed=1), (running(),))
    assert plan(stored(), early).confirm
    seen = plan(stored(), Observed(child(failed=1), (ended(80),), confirmed=True)).status
    assert seen is not None
    assert seen["restarts"] == 1
    pods_gone = plan(stored(), Observed(child(failed=1), confirmed=True)).status
    assert pods_gone is not None
    assert pods_gone["restarts"] == 1
    assert not plan(stored(pods_gone), Observed(child(failed=1))).confirm
