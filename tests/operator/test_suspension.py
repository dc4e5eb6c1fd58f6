"""A job that is suspended and resumed: what is done to its child, and what does not count."""

from typing import Any

import pytest

from embedtune_operator.observe import Observed
from tests.operator.objects import CHILD, child, ended, running, stored
from tests.operator.test_decide import CASES, GONE, LATER, OLD, PROGRESS, plan

SUSPENDED: dict[str, Any] = {"suspend": True}


def test_the_childs_suspend_follows_the_jobs_and_nothing_else_is_applied() -> None:
    first = plan(stored(**SUSPENDED), CASES["training"])
    assert (first.child_patch, first.again) == (None, True), "the status says so before"
    told = plan(stored(first.status, **SUSPENDED), CASES["training"])
    assert (told.child_patch, told.again) == ({"spec": {"suspend": True}}, False)
    assert first.children == told.children == ()
    assert plan(stored(first.status, **SUSPENDED), CASES["suspended"]).child_patch is None
    resumed = plan(stored(first.status, suspend=False), CASES["suspended"])
    assert resumed.child_patch == {"spec": {"suspend": False}}
    assert resumed.children == ()


def test_what_others_have_suspended_is_theirs_to_resume() -> None:
    """Kueue suspends each Job without a queue where it is told so, as often as it is resumed."""
    assert plan(stored(), CASES["held"]).child_patch is None
    suspended = plan(stored(**SUSPENDED), CASES["held"]).status
    resumed = plan(stored(suspended), CASES["held"])
    assert resumed.child_patch == {"spec": {"suspend": False}}
    assert plan(stored(resumed.status), CASES["held"]).child_patch is None, "once"


def test_nothing_is_made_for_a_job_that_begins_suspended() -> None:
    first = plan(stored(**SUSPENDED), Observed())
    assert first.children == ()
    assert first.status is not None
    assert "jobName" not in first.status
    resumed = plan(stored(first.status, generation=2), Observed(), LATER)
    assert [c["kind"] for c in resumed.children] == ["ConfigMap", "Job"]


def test_the_pod_that_a_suspension_took_has_not_failed() -> None:
    known = plan(stored(), CASES["training"]).status
    suspending = plan(stored(known, **SUSPENDED), CASES["suspending"]).status
    assert suspending is not None
    assert (suspending["restarts"], suspending.get("lastFailure")) == (0, None)
    assert suspending["progress"] == PROGRESS.to_dict()
    ending = Observed(child(spec=SUSPENDED), (ended(81, meta=GONE),))
    assert plan(stored(suspending, **SUSPENDED), ending).events == ()
    back = Observed(child(resumed="2026-11-24T11:59:59Z"), (ended(81, meta=OLD), running(name="b")))
    again = plan(stored(suspending, generation=3), back).status
    assert again is not None
    assert (again["state"], again["restarts"]) == ("Running", 0)
    assert "lastFailure" not in again


def test_a_pod_that_is_deleted_after_a_suspension_has() -> None:
    observed = Observed(child(resumed="2026-11-24T11:59:58Z"), (running(meta=GONE),))
    status = plan(stored(), observed).status
    assert status is not None
    assert (status["reason"], status["restarts"]) == ("Retrying", 1)


@pytest.mark.parametrize("case", ["succeeded", "bad-data", "backoff"])
def test_what_ended_in_the_meantime_has_ended(case: str) -> None:
    status = plan(stored(**SUSPENDED), CASES[case]).status
    assert status is not None
    assert status["state"] in ("Complete", "Failed")


def test_a_pod_killed_in_a_suspension_is_followed_by_one_of_another_job() -> None:
    """It overran its grace period, which the Job controller cannot tell from want of memory."""
    before = plan(stored(**SUSPENDED), CASES["suspending"]).status
    killed = Observed(
        child(("Failed", "PodFailurePolicy"), spec=SUSPENDED),
        (ended(137, meta=GONE),),
        confirmed=True,
    )
    suspended = plan(stored(before, **SUSPENDED), killed)
    assert suspended.children == ()
    assert suspended.status is not None
    assert (suspended.status["reason"], suspended.status["jobName"]) == ("Suspended", f"{CHILD}-2")
    resumed = plan(stored(suspended.status, generation=3), Observed(confirmed=True))
    assert [c["metadata"]["name"] for c in resumed.children] == [CHILD, f"{CHILD}-2"]
    assert resumed.status is not None
    assert resumed.status["reason"] == "Resumed"


def test_suspending_twice_is_told_twice() -> None:
    first = plan(stored(generation=2, **SUSPENDED), CASES["suspended"]).events
    second = plan(stored(generation=4, **SUSPENDED), CASES["suspended"]).events
    assert [e.reason for e in (*first, *second)] == 2 * ["Created", "Suspended"]
    assert {e.name for e in first}.isdisjoint(e.name for e in second)
