"""Deadlines and times to live, with the clock as an argument."""

from datetime import timedelta
from typing import Any

import pytest

from embedtune_operator.observe import Observed, Refusal
from embedtune_operator.plan import Plan
from tests.operator.objects import NOW, child, stored, waiting
from tests.operator.test_decide import CASES, SPECS, plan

WITHIN_A_MINUTE: dict[str, Any] = {"runPolicy": {"pendingDeadlineSeconds": 60}}
WAITING = {
    "image-pull": CASES["image-pull"],
    "unschedulable": CASES["unschedulable"],
    "config-error": CASES["config-error"],
    "refused": Observed(refusal=Refusal("Job", "quota", NOW + timedelta(hours=1), 1)),
}


def after(seconds: float, status: Any, observed: Observed, **spec: Any) -> Plan:
    return plan(stored(status, **spec), observed, NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("case", WAITING)
def test_a_job_that_waits_too_long_fails_and_says_for_what(case: str) -> None:
    first = after(0, None, WAITING[case], **WITHIN_A_MINUTE)
    assert first.again_after_s == 60
    assert first.status is not None
    soon = after(59, first.status, WAITING[case], **WITHIN_A_MINUTE)
    assert (soon.status, soon.again_after_s) == (None, 1)
    late = after(60, first.status, WAITING[case], **WITHIN_A_MINUTE)
    assert late.status is not None
    assert (late.status["state"], late.status["reason"]) == ("Failed", "PendingDeadlineExceeded")
    assert late.children == ()
    assert first.status["reason"] in late.status["conditions"][0]["message"]
    if WAITING[case].child is not None:
        assert late.child_patch == {"spec": {"activeDeadlineSeconds": 1}}, "no pod comes after it"


def test_a_running_job_has_no_pending_deadline_and_gets_it_back_with_a_retry() -> None:
    running = after(0, None, CASES["training"], **WITHIN_A_MINUTE)
    assert running.again_after_s is None
    assert after(999, running.status, CASES["training"], **WITHIN_A_MINUTE).status is None
    lost = after(1000, running.status, CASES["pod-deleted"], **WITHIN_A_MINUTE)
    assert lost.again_after_s == 60
    late = after(1060, lost.status, CASES["waits-for-node"], **WITHIN_A_MINUTE).status
    assert late is not None
    assert late["reason"] == "PendingDeadlineExceeded"


def test_suspended_time_is_not_waited_time() -> None:
    waits = after(0, None, CASES["unschedulable"], **WITHIN_A_MINUTE).status
    suspended = after(50, waits, CASES["suspended"], suspend=True, **WITHIN_A_MINUTE).status
    resumed = after(500, suspended, CASES["resumed"], **WITHIN_A_MINUTE)
    assert resumed.again_after_s == 60
    again = child(resumed="2026-11-24T12:08:20Z"), (waiting("ErrImagePull"),)
    assert after(559, resumed.status, Observed(*again), **WITHIN_A_MINUTE).again_after_s == 1


def test_no_deadline_by_default() -> None:
    first = after(0, None, CASES["image-pull"]).status
    assert after(10**7, first, CASES["image-pull"]) == Plan()


@pytest.mark.parametrize("case", ["succeeded", "bad-data"])
@pytest.mark.parametrize("meta", [{}, {"labels": {"kustomize.toolkit.fluxcd.io/name": "jobs"}}])
def test_the_ttl_removes_the_job_itself_if_asked_and_if_nobody_would_make_it_again(
    case: str, meta: dict[str, Any]
) -> None:
    policy: dict[str, Any] = {"runPolicy": {"ttlSecondsAfterFinished": 60, "ttlPolicy": "job"}}
    done = after(0, None, CASES[case], **policy).status
    ttl = {"spec": {"ttlSecondsAfterFinished": 60}}
    soon, late = (
        plan(stored(done, meta=meta, **policy), CASES[case], NOW + timedelta(seconds=s))
        for s in (59, 60)
    )
    if meta:
        assert (soon, late) == (Plan(child_patch=ttl), Plan(child_patch=ttl))
    else:
        assert soon == Plan(child_patch=ttl, again_after_s=1)
        assert late == Plan(delete=True)


def test_by_default_the_ttl_leaves_the_job() -> None:
    policy: dict[str, Any] = {"runPolicy": {"ttlSecondsAfterFinished": 60}}
    done = after(0, None, CASES["succeeded"], **policy).status
    assert not after(10**6, done, CASES["succeeded"], **policy).delete


@pytest.mark.parametrize("written", [None, "yesterday", 7])
def test_a_completion_time_written_by_hand_deletes_nothing(written: Any) -> None:
    policy: dict[str, Any] = {"runPolicy": {"ttlSecondsAfterFinished": 0, "ttlPolicy": "job"}}
    done = plan(stored(**policy), CASES["succeeded"]).status or {}
    assert not plan(stored(done | {"completionTime": written}, **policy), Observed()).delete


def test_every_special_spec_belongs_to_a_case() -> None:
    assert set(SPECS) <= set(CASES)
