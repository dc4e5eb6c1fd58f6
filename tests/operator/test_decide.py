"""decide(): from what is observed to what is said and done, case by case."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune_api import reasons
from embedtune_api.status import FineTuneJobStatus, Progress
from embedtune_operator.decide import Plan, decide
from embedtune_operator.observe import Observed, Refusal
from embedtune_operator.settings import Settings
from embedtune_operator.views import StoredJob
from tests.operator.objects import (
    CHILD,
    NOW,
    OUTPUT,
    SETTINGS,
    child,
    ended,
    golden,
    pod,
    running,
    stored,
    waiting,
)
from tests.operator.world import condition, failure

RESULT = json.dumps(
    {
        "version": 1,
        "model": {
            "uri": OUTPUT,
            "digest": "sha256:" + "ab" * 32,
            "sizeBytes": 91_000_000,
            "embeddingDim": 384,
            "baseModel": "s3://bases/minilm",
        },
        "metrics": {
            "headline": {"name": "ndcg_at_10", "before": "0.61", "after": "0.78"},
            "before": {"ndcg_at_10": "0.61"},
            "after": {"ndcg_at_10": "0.78"},
        },
        "trainSeconds": 70.5,
    }
)
GATED = json.dumps(json.loads(RESULT) | {"gated": True})
NOT_IMPROVED = json.dumps(
    json.loads(RESULT)
    | {
        "failure": {
            "reason": "NotImproved",
            "message": "ndcg_at_10 rose by 0.1700, spec.data.evaluation.gate asks for 0.2000",
        }
    }
)
PROGRESS = Progress(summary="10%", phase="Training", percent=10, epoch=1, step=20, steps=200)
BAD_DATA = failure("BadData", "row 7, column label: blank")
GONE: dict[str, Any] = {
    "deletionTimestamp": "2026-11-24T11:59:58Z",
    "deletionGracePeriodSeconds": 60,
}
OLD = GONE | {"creationTimestamp": "2026-11-24T11:59:00Z"}
EVICTION = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "PreemptionByScheduler",
    "message": "preempting to accommodate a higher priority pod",
}
TAINTED = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletionByTaintManager",
    "message": "Taint manager: deleting due to NoExecute taint",
}
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}
OVERFULL: dict[str, Any] = {
    "reason": "Evicted",
    "message": 'Usage of EmptyDir volume "work" exceeds the limit "20Gi".',
}
STOPPED = {"terminated": {"exitCode": 81, "finishedAt": "2026-11-24T11:59:50Z"}}
NODE_OUT: dict[str, Any] = {"reason": "NodeShutdown", "message": "Node is shutting down"}
LATER = NOW + timedelta(seconds=7)

CASES: dict[str, Observed] = {
    "new": Observed(),
    "refused": Observed(refusal=Refusal("Job", "exceeded quota: none", LATER, 1)),
    "created": Observed(child()),
    "no-pod": Observed(child(creationTimestamp="2026-11-24T11:59:00Z")),
    "waits-for-node": Observed(child(), (pod(node=""),)),
    "unschedulable": Observed(child(), (pod(node="", conditions=[UNSCHEDULABLE]),)),
    "starting": Observed(child(), (waiting("ContainerCreating"),)),
    "image-pull": Observed(child(), (waiting("ErrImagePull", "manifest unknown"),)),
    "image-name": Observed(child(), (waiting("InvalidImageName", "couldn't parse"),)),
    "config-error": Observed(
        child(), (waiting("CreateContainerConfigError", 'secret "s3" not found'),)
    ),
    "training": Observed(child(), (running(),), PROGRESS),
    "pod-deleted": Observed(child(), (running(meta=GONE),), PROGRESS),
    "retrying": Observed(child(failed=1), (ended(80, "s3 does not answer"),)),
    "second-attempt": Observed(
        child(failed=1), (ended(82, "Traceback", name="a"), running(name="b"))
    ),
    "succeeded": Observed(child(), (ended(0, RESULT, "Completed"),)),
    "improved": Observed(child(), (ended(0, GATED, "Completed"),)),
    "not-improved": Observed(child(), (ended(0, NOT_IMPROVED, "Completed"),)),
    "no-result": Observed(child(), (ended(0, ""),)),
    "other-place": Observed(child(), (ended(0, RESULT.replace(OUTPUT, "s3://x/")),)),
    "bad-data": Observed(
        child(("FailureTarget", "PodFailurePolicy")), (ended(65, BAD_DATA),), confirmed=True
    ),
    "oom": Observed(
        child(("Failed", "PodFailurePolicy")), (ended(137, "", "OOMKilled"),), confirmed=True
    ),
    "evicted": Observed(child(), (ended(137, conditions=[EVICTION]),)),
    "node-lost": Observed(child(), (running(meta=GONE, conditions=[TAINTED]),)),
    "node-out": Observed(child(failed=1), (pod(phase="Failed", **NODE_OUT),)),
    "overfull": Observed(child(), (pod(STOPPED, phase="Failed", **OVERFULL),)),
    "backoff": Observed(
        child(("Failed", "BackoffLimitExceeded"), failed=4), (ended(82, "boom"),), confirmed=True
    ),
    "deadline": Observed(
        child(("FailureTarget", "DeadlineExceeded")), (running(meta=GONE),), confirmed=True
    ),
    "failed-without-pods": Observed(child(("Failed", "PodFailurePolicy")), confirmed=True),
    "result-lost": Observed(child(("Complete", "CompletionsReached")), confirmed=True),
    "child-going": Observed(child(**GONE)),
    "child-gone-pod-alive": Observed(None, (running(),), confirmed=True),
    "suspended-before-it-began": Observed(),
    "suspending": Observed(child(spec={"suspend": True}), (running(meta=GONE),), PROGRESS),
    "suspended": Observed(child(("Suspended", "JobSuspended"), spec={"suspend": True})),
    "resumed": Observed(child(("Suspended", "JobSuspended"))),
    "held": Observed(child(("Suspended", "JobSuspended"), spec={"suspend": True})),
    "resumed-pod-going": Observed(child(resumed="2026-11-24T11:59:59Z"), (running(meta=OLD),)),
    "resumed-no-pod": Observed(child(resumed="2026-11-24T11:59:59Z")),
}
SPECS: dict[str, dict[str, Any]] = {
    "config-error": {"storage": {"secretRef": {"name": "s3"}}},
    "suspended-before-it-began": {"suspend": True},
    "suspending": {"suspend": True},
    "suspended": {"suspend": True},
}


def plan(job: StoredJob, observed: Observed, now: Any = NOW, settings: Settings = SETTINGS) -> Plan:
    return decide(job, observed, settings, now)


@pytest.mark.parametrize("case", CASES)
def test_status(case: str) -> None:
    found = plan(stored(**SPECS.get(case, {})), CASES[case])
    assert found.status is not None
    FineTuneJobStatus.parse(found.status)
    golden(
        f"status/{case}.yaml",
        {
            "children": [c["kind"] for c in found.children],
            "events": [f"{'Warning' if e.warning else 'Normal'} {e.reason}" for e in found.events],
            "status": found.status,
        },
    )


@pytest.mark.parametrize("case", CASES)
def test_a_second_look_changes_nothing(case: str) -> None:
    first = plan(stored(**SPECS.get(case, {})), CASES[case])
    again = stored(first.status, **SPECS.get(case, {}))
    second = plan(again, CASES[case], NOW + timedelta(seconds=1))
    assert second.status is None
    assert second.events == ()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("terminal", ["succeeded", "not-improved", "bad-data"])
def test_terminal_conditions_latch(case: str, terminal: str) -> None:
    done = plan(stored(), CASES[terminal]).status
    after = plan(stored(done), CASES[case])
    assert after.children == ()
    assert after.status is None
    later = plan(stored(done, generation=2), CASES[case])
    assert later.status == (done or {}) | {"observedGeneration": 2}
    assert later.children == ()


@pytest.mark.parametrize("stage", ["succeeded", "no-result", "training"])
def test_transition_times_are_those_of_the_change(stage: str) -> None:
    before = plan(stored(), CASES["created"]).status
    after = plan(stored(before), CASES[stage], LATER).status
    assert before is not None
    assert after is not None
    for old, new in zip(before["conditions"], after["conditions"], strict=True):
        changed = old["status"] != new["status"]
        assert (new["lastTransitionTime"] != old["lastTransitionTime"]) == changed


def test_what_rests_on_absence_is_confirmed_first() -> None:
    known = plan(stored(), CASES["training"]).status
    for observed in (
        Observed(),
        Observed(child(("Complete", "CompletionsReached"))),
        Observed(child(("Failed", "PodFailurePolicy")), (running(),)),
    ):
        found = plan(stored(known), observed)
        assert found == Plan(confirm=True)
        assert not plan(stored(known), replace(observed, confirmed=True)).confirm


def test_child_is_made_again_only_when_its_pod_has_ended() -> None:
    known = plan(stored(), CASES["training"]).status
    assert plan(stored(known), CASES["child-gone-pod-alive"]).children == ()
    both = [c["kind"] for c in plan(stored(known), Observed(confirmed=True)).children]
    assert both == ["ConfigMap", "Job"]


def test_verdict_is_awaited_for_a_while() -> None:
    known = plan(stored(), CASES["training"]).status
    bad = Observed(child(failed=1), (ended(65, BAD_DATA),))
    found = plan(stored(known), bad, NOW - timedelta(seconds=9))
    assert found.status is None
    assert found.again_after_s is not None
    late = plan(stored(known), bad, NOW).status
    assert late is not None
    assert late["reason"] == reasons.BAD_DATA
    assert late["state"] == "Pending"


def test_what_ends_a_job_is_told_once_however_late_the_verdict() -> None:
    known = plan(stored(), CASES["training"]).status
    bad = (ended(65, BAD_DATA),)
    late = plan(stored(known), Observed(child(failed=1), bad))
    over = Observed(child(("Failed", "PodFailurePolicy"), failed=1), bad, confirmed=True)
    end = plan(stored(late.status), over)
    assert end.status is not None
    assert end.status["state"] == "Failed"
    assert len(late.events) == 1
    assert late.events == end.events  # of one name, so the second is not posted


def test_image_messages_do_not_alternate() -> None:
    first = plan(stored(), CASES["image-pull"]).status
    back_off = Observed(child(), (waiting("ImagePullBackOff", "Back-off pulling image"),))
    assert plan(stored(first), back_off).status is None


def test_that_a_pod_waits_is_not_written_while_it_is_new() -> None:
    made = decide(stored(), Observed(), SETTINGS, NOW)
    job, there = stored(made.status), Observed(child(), (pod(),))
    plan = decide(job, there, SETTINGS, NOW)
    assert plan.status is None
    assert plan.again_after_s == 1.0
    plan = decide(job, there, SETTINGS, NOW + timedelta(seconds=1))
    assert plan.status is not None
    assert plan.status["reason"] == reasons.POD_PENDING
    later = decide(job, Observed(child(), (running(),)), SETTINGS, NOW)
    assert later.status is not None
    assert later.status["reason"] == reasons.TRAINING


def test_progress_stays_between_scrapes_and_falls_back_with_the_pod() -> None:
    known = plan(stored(), CASES["training"]).status
    unscraped = Observed(child(), (running(),))
    assert plan(stored(known), unscraped).status is None
    after = plan(stored(known), CASES["pod-deleted"]).status
    assert after is not None
    assert "progress" not in after
    assert after["restarts"] == 1


def test_a_later_success_keeps_the_failure_before_it() -> None:
    retrying = plan(stored(), CASES["retrying"]).status
    assert retrying is not None
    done = plan(
        stored(retrying),
        Observed(child(failed=1), (ended(80), ended(0, RESULT, name="b"))),
    ).status
    assert done is not None
    assert done["state"] == "Complete"
    assert done["restarts"] == 1
    assert done["lastFailure"]["podName"] == retrying["lastFailure"]["podName"]


def test_run_policy_changes_reach_the_child() -> None:
    job = stored(runPolicy={"backoffLimit": 9, "activeDeadlineSeconds": 60})
    patch = plan(job, CASES["training"]).child_patch
    assert patch == {"spec": {"backoffLimit": 9, "activeDeadlineSeconds": 60}}


def test_ttl_is_set_when_the_result_is_safe() -> None:
    policy: dict[str, Any] = {"runPolicy": {"ttlSecondsAfterFinished": 60}}
    first = plan(stored(**policy), CASES["succeeded"])
    assert first.child_patch is None
    second = plan(stored(first.status, **policy), CASES["succeeded"])
    assert second.child_patch == {"spec": {"ttlSecondsAfterFinished": 60}}


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {"backbone": "s3://bases/minilm", "pooling": "sideways"}},
        {"training": {"batchSize": 4}},
        {"data": None},
        {"unheard": 1},
        {"resources": {"memory": "0"}},
    ],
)
def test_stored_spec_that_does_not_parse(spec: dict[str, Any]) -> None:
    found = plan(stored(**spec), Observed())
    assert found.children == ()
    assert found.status is not None
    assert (found.status["state"], found.status["reason"]) == ("Failed", reasons.BAD_SPEC)
    message = condition(found.status, "Failed")["message"]
    assert f"spec.{next(iter(spec))}" in message or "training.batchSize" in message
    assert [e.reason for e in found.events] == [reasons.BAD_SPEC]


def test_mangled_status_is_made_anew() -> None:
    found = plan(stored({"conditions": "none", "state": 3}), Observed()).status
    assert found is not None
    assert found["reason"] == reasons.CREATED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["state", "conditions", "type", "status", "progress", "metrics", "x"]),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["state", "conditions", "model", "y"]), json_values))
def test_any_status_is_survived(status: dict[str, Any]) -> None:
    plan(stored(status), CASES["training"])


@given(
    code=st.integers(-1, 255),
    message=st.text(max_size=200) | json_values.map(json.dumps),
    reason=st.text(max_size=10),
)
def test_any_end_is_survived(code: int, message: str, reason: str) -> None:
    for conditions in ((), (("Failed", reason or "X"),), (("Complete", "X"),)):
        observed = Observed(child(*conditions), (ended(code, message, reason),), confirmed=True)
        found = plan(stored(), observed)
        if found.status is not None:
            FineTuneJobStatus.parse(found.status)


def test_names_are_those_of_the_child() -> None:
    found = plan(stored(), Observed())
    assert {c["metadata"]["name"] for c in found.children} == {CHILD}
