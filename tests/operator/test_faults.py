"""Every write of a job's life fails, in every way, before and after it was done: the end is the
same, nothing is made twice, and what is finished stays finished.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from embedtune_operator.client import Conflict, NotLeading, Refused, Unavailable
from embedtune_operator.controller import UNLED_AGAIN_S
from tests.operator.fake_api import JOB_PATH, Crash, FakeApi, FakeOperator, submitted
from tests.operator.objects import CHILD, CHILD_UID, UID, raw_job, raw_runtime
from tests.operator.test_decide import BAD_DATA, RESULT

PODS = "/api/v1/namespaces/search/pods"
COMPONENT = "app.kubernetes.io/component"
CHILD_PATH = f"/apis/batch/v1/namespaces/search/jobs/{CHILD}"


def pod(
    api: FakeApi, state: dict[str, Any], phase: str, name: str = "pod-1", child: str = CHILD_PATH
) -> None:
    """A pod of a Job, with its component."""
    owner = api.objects[child]["metadata"]["uid"]
    meta = {
        "name": name,
        "namespace": "search",
        "uid": f"uid-of-{name}",
        "labels": {
            "embedtune.dev/job-uid": UID,
            COMPONENT: api.objects[child]["metadata"]["labels"][COMPONENT],
        },
        "creationTimestamp": "2026-11-24T12:00:01Z",
        "ownerReferences": [{"uid": owner, "controller": True}],
    }
    containers = [{"name": "trainer"}]
    status = {"phase": phase, "containerStatuses": [{"name": "trainer", "state": state}]}
    spec = {"nodeName": "node-1", "containers": containers}
    api.put(f"{PODS}/{name}", {"metadata": meta, "spec": spec, "status": status})


def ended(code: int, message: str) -> dict[str, Any]:
    times = {"startedAt": "2026-11-24T12:00:01Z", "finishedAt": "2026-11-24T12:00:09Z"}
    return {"terminated": {"exitCode": code, "message": message, **times}}


async def life(api: FakeApi) -> FakeOperator:
    """A job's life with one failed attempt, and a sweep at its end."""
    operator = FakeOperator(api)
    await operator.settle()
    if CHILD_PATH not in api.objects:
        await operator.pass_time(10)  # a refusal is tried again, but not at once
    pod(api, {"running": {"startedAt": "2026-11-24T12:00:01Z"}}, "Running")
    operator.deliver()
    await operator.settle()
    pod(api, ended(80, "no answer"), "Failed")
    operator.deliver()
    await operator.settle()
    pod(api, ended(0, RESULT), "Succeeded", "pod-2")
    operator.deliver()
    await operator.settle()
    return operator


RUNS = {"running": {"startedAt": "2026-11-24T12:00:01Z"}}
SECOND_PATH = f"{CHILD_PATH}-2"
TEAM_PATH = "/apis/embedtune.dev/v1alpha1/namespaces/search/finetuneruntimes/team"


async def begun(api: FakeApi) -> FakeOperator:
    """The trainer runs."""
    operator = FakeOperator(api)
    await operator.settle()
    if CHILD_PATH not in api.objects:
        await operator.pass_time(10)
    pod(api, RUNS, "Running")
    operator.deliver()
    await operator.settle()
    return operator


async def suspended_and_resumed(api: FakeApi) -> FakeOperator:
    """A job that is stopped in the middle and goes on with another pod."""
    operator = await begun(api)
    await change(operator, 2, suspend=True)
    assert api.objects[CHILD_PATH]["spec"]["suspend"] is True
    child_is(api, "Suspended", "True", "JobSuspended")
    del api.objects[f"{PODS}/pod-1"]
    await relist(operator)
    assert told(api)["reason"] == "Suspended"
    await change(operator, 3, suspend=False)
    assert api.objects[CHILD_PATH]["spec"]["suspend"] is False
    child_is(api, "Suspended", "False", "JobResumed")
    pod(api, ended(0, RESULT), "Succeeded", "pod-2")
    operator.deliver()
    await operator.settle()
    return operator


async def out_of_memory_once(api: FakeApi) -> FakeOperator:
    """A job whose first Job fails, and which is followed by another."""
    operator = await begun(api)
    killed = ended(137, "")
    killed["terminated"]["reason"] = "OOMKilled"
    pod(api, killed, "Failed")
    child_is(api, "Failed", "True", "PodFailurePolicy")
    operator.deliver()
    await operator.settle()
    if SECOND_PATH not in api.objects:
        await operator.pass_time(10)
    pod(api, ended(0, RESULT), "Succeeded", "pod-2", SECOND_PATH)
    operator.deliver()
    await operator.settle()
    return operator


async def late_verdict(api: FakeApi) -> FakeOperator:
    """A job whose data is bad, which the Job controller takes a while to say."""
    operator = await begun(api)
    pod(api, ended(65, BAD_DATA), "Failed")
    operator.deliver()
    await operator.settle()
    await operator.pass_time(30)
    assert (told(api)["state"], told(api)["reason"]) == ("Pending", "BadData")
    child_is(api, "Failed", "True", "PodFailurePolicy")
    operator.deliver()
    await operator.settle()
    return operator


async def by_runtime(api: FakeApi) -> FakeOperator:
    """A job whose runtime becomes another as soon as the job is run by it."""
    api.put(TEAM_PATH, raw_runtime(default=True, image="first:1"))
    operator = FakeOperator(api)
    await operator.settle()
    if CHILD_PATH not in api.objects:
        await operator.pass_time(10)
    api.put(TEAM_PATH, raw_runtime(default=True, image="second:1"))
    del api.objects[CHILD_PATH]
    await relist(operator)
    if CHILD_PATH not in api.objects:
        await operator.pass_time(10)
    (container,) = api.objects[CHILD_PATH]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "first:1"
    pod(api, ended(0, RESULT), "Succeeded")
    operator.deliver()
    await operator.settle()
    return operator


async def change(operator: FakeOperator, generation: int, **spec: Any) -> None:
    """The user changes the job."""
    job = operator.api.objects[JOB_PATH]
    job["metadata"]["generation"] = generation
    operator.api.put(JOB_PATH, job | {"spec": job["spec"] | spec})
    operator.deliver()
    await operator.settle()


def child_is(api: FakeApi, kind: str, value: str, reason: str) -> None:
    """What the Job controller writes."""
    item = api.objects[CHILD_PATH]
    condition = {"type": kind, "status": value, "reason": reason}
    item["status"] = {
        "conditions": [condition | {"lastTransitionTime": "2026-11-24T12:00:05Z", "message": ""}]
    }
    api.put(CHILD_PATH, item)


async def relist(operator: FakeOperator) -> None:
    """The watches notice what has gone."""
    for kind in operator.resync.kinds:
        await operator.resync.once(kind)
    await operator.settle()


@dataclass(frozen=True)
class Course:
    """A life, what it needs, and what it comes to."""

    live: Callable[[FakeApi], Awaitable[FakeOperator]]
    policy: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of spec.runPolicy."""
    last_child: str = CHILD_PATH
    state: str = "Complete"


LIVES = {
    "retried": Course(life),
    "suspended": Course(suspended_and_resumed),
    "by a runtime": Course(by_runtime),
    "more memory": Course(out_of_memory_once, {"onOutOfMemory": "moreMemory"}, SECOND_PATH),
    "late verdict": Course(late_verdict, state="Failed"),
}


def told(api: FakeApi) -> dict[str, Any]:
    status = json.loads(json.dumps(api.objects[JOB_PATH]["status"]))
    for condition in status["conditions"]:
        del condition["lastTransitionTime"]
    status.pop("completionTime", None)
    return dict(status)


def things(api: FakeApi) -> list[str]:
    return sorted(path for path in api.made if "/events/" not in path)


FAULTS: dict[str, tuple[str, BaseException]] = {
    "crash-before": ("before", Crash()),
    "crash-after": ("after", Crash()),
    "500": ("before", Unavailable("internal error", status=500)),
    "504-after-doing-it": ("after", Unavailable("timeout", status=504)),
    "429": ("before", Unavailable("slow down", status=429, retry_after_s=1)),
    "409": ("before", Conflict("modified")),
    "422": ("before", Refused("invalid")),
    "422-after-doing-it": ("after", Refused("invalid")),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", LIVES)
async def test_every_write_fails_once(case: str, fault: str) -> None:
    course = LIVES[case]
    spec = {"runPolicy": {"ttlSecondsAfterFinished": 60} | course.policy}
    calm = submitted(**spec)
    await course.live(calm)
    assert told(calm)["state"] == course.state
    for number in range(len(calm.writes)):
        api = submitted(**spec)
        api.fault = (number, *FAULTS[fault])
        await course.live(api)
        where = calm.writes[number]
        assert told(api) == told(calm), where
        assert things(api) == things(calm), where
        assert api.objects[course.last_child]["spec"]["ttlSecondsAfterFinished"] == 60, where
        lost = {e["reason"] for p, e in calm.objects.items() if "/events/" in p} - {
            e["reason"] for p, e in api.objects.items() if "/events/" in p
        }
        # only a crash between the status and its events loses them, or a refusal of their own
        refused = where.endswith("/events") and fault in ("409", "422")
        assert not lost or refused or (fault.startswith("crash") and len(lost) <= 2), where


async def test_a_lease_that_lapses_for_a_moment_is_no_failure() -> None:
    api = submitted()
    operator = FakeOperator(api)
    for _ in range(10):  # a failure's delay would be 51 s by then
        api.fault = (len(api.writes), "before", NotLeading("the Lease is not held"))
        assert await operator.controller.reconcile(UID) == UNLED_AGAIN_S
    assert things(api) == []
    await operator.settle()
    assert things(api) == [f"/api/v1/namespaces/search/configmaps/{CHILD}", CHILD_PATH]


async def test_late_watches_make_nothing_twice() -> None:
    api = submitted()
    operator = FakeOperator(api)
    for _ in range(3):
        await operator.settle(deliver=False)
    assert things(api) == [f"/api/v1/namespaces/search/configmaps/{CHILD}", CHILD_PATH]


async def test_stale_job_does_not_take_a_terminal_condition_back() -> None:
    api = submitted()
    operator = await life(api)
    done = told(api)
    now, api.objects = api.objects, {JOB_PATH: raw_job()}
    operator.start()  # is given a list from long ago
    api.objects = now
    await operator.settle(deliver=False)
    assert told(api) == done
    assert things(api) == [f"/api/v1/namespaces/search/configmaps/{CHILD}", CHILD_PATH]


async def test_deletions_in_a_gap_between_watches_are_found() -> None:
    api = submitted()
    operator = FakeOperator(api)
    await operator.settle()
    pod(api, {"running": {"startedAt": "2026-11-24T12:00:01Z"}}, "Running")
    operator.deliver()
    await operator.settle()
    assert told(api)["reason"] == "Training"
    del api.objects[CHILD_PATH]
    del api.objects[f"{PODS}/pod-1"]
    for kind in operator.resync.kinds:
        await operator.resync.once(kind)
    await operator.settle()
    assert told(api)["reason"] == "Created"
    assert api.made.count(CHILD_PATH) == 2
    assert api.objects[CHILD_PATH]["metadata"]["uid"] != CHILD_UID


async def test_a_listing_of_a_while_ago_takes_nothing_away() -> None:
    """What is newer than the listing is missing in it, and has not gone for that."""
    api = submitted()
    operator = FakeOperator(api)
    before = list(api.objects.values())

    async def listed(path: str, selector: str = "") -> AsyncIterator[tuple[int, Any]]:
        yield 50, before if path.endswith("/finetunejobs") else []

    await operator.settle()
    pod(api, {"running": {"startedAt": "2026-11-24T12:00:01Z"}}, "Running")
    operator.deliver()
    api.list = listed  # type: ignore[method-assign]
    for kind in operator.resync.kinds:
        await operator.resync.once(kind)
    await operator.settle()
    assert told(api)["reason"] == "Training"
    pod(api, ended(0, RESULT), "Succeeded")
    operator.deliver()
    await operator.settle()
    assert told(api)["state"] == "Complete"
    assert api.made.count(CHILD_PATH) == 1


async def test_job_that_vanishes_while_it_is_worked_on() -> None:
    api = submitted()
    operator = FakeOperator(api)
    del api.objects[JOB_PATH]
    await operator.settle()
    assert things(api) == [f"/api/v1/namespaces/search/configmaps/{CHILD}", CHILD_PATH]
