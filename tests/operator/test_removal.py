"""Deleting a job whose model is to go with it: a finalizer, a pod that removes, and an end."""

from datetime import timedelta
from typing import Any

import pytest

from embedtune_api.job import FineTuneJob
from embedtune_operator.blueprint import blueprint
from embedtune_operator.manifests import REMOVAL_LIMIT_S, remover_job
from embedtune_operator.names import FINALIZER
from embedtune_operator.observe import Observed, Refusal
from embedtune_operator.plan import Plan
from embedtune_operator.removal import decide_removal
from embedtune_operator.views import StoredJob
from tests.operator.fake_api import JOB_PATH, FakeApi, FakeOperator, submitted
from tests.operator.objects import (
    CHILD,
    NOW,
    OUTPUT,
    SETTINGS,
    child,
    ended,
    golden,
    raw_job,
    running,
    stored,
)
from tests.operator.test_decide import CASES, RESULT, plan
from tests.operator.test_faults import CHILD_PATH, FAULTS, pod
from tests.operator.test_faults import ended as ended_state

GOES: dict[str, Any] = {"output": {"uri": "s3://models/tuned", "retain": False}}
DELETED = {"finalizers": [FINALIZER], "deletionTimestamp": "2026-11-24T11:59:59Z"}
REMOVER = f"{CHILD}-r"
REMOVER_PATH = f"/apis/batch/v1/namespaces/search/jobs/{REMOVER}"


def deleted() -> StoredJob:
    return stored({"jobName": CHILD}, meta=DELETED, **GOES)


def removal(observed: Observed, seconds: float = 0) -> Plan:
    return decide_removal(deleted(), observed, SETTINGS, NOW + timedelta(seconds=seconds))


def reasons(found: Plan) -> list[str]:
    return [event.reason for event in found.events]


def test_the_finalizer_is_there_before_anything_is_made() -> None:
    assert plan(stored(**GOES), Observed()) == Plan(finalizer=True)
    held = plan(stored(meta={"finalizers": [FINALIZER]}, **GOES), Observed())
    assert [c["kind"] for c in held.children] == ["ConfigMap", "Job"]
    assert plan(stored(), Observed()).finalizer is None


def test_a_finalizer_that_was_taken_off_is_not_put_on_again() -> None:
    known = plan(stored(), CASES["training"]).status
    assert plan(stored(known, **GOES), CASES["training"]) == Plan()


def test_the_trainer_ends_before_its_output_is_removed() -> None:
    running_on = removal(Observed(child(), (running(),)))
    assert running_on.child_patch == {"spec": {"suspend": True}}
    assert running_on.children == ()
    told = child(("Suspended", "JobSuspended"), spec={"suspend": True})
    assert removal(Observed(told, (running(),))) == Plan(again_after_s=REMOVAL_LIMIT_S - 1)
    orphan = removal(Observed(None, (running(),)))
    assert orphan.children == ()
    for over in (Observed(told), Observed(child(("Complete", "X"))), Observed(None)):
        assert [c["metadata"]["name"] for c in removal(over).children] == [REMOVER]


def test_the_remover_is_restricted_and_owned_by_nobody() -> None:
    spec = GOES | {"storage": {"secretRef": {"name": "s3"}, "hfTokenSecretRef": {"name": "hub"}}}
    manifest = remover_job(blueprint(FineTuneJob.parse(raw_job(**spec)), None, SETTINGS))
    golden("children/remover.job.yaml", manifest)
    assert "ownerReferences" not in manifest["metadata"]
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["command"][-2:] == ["remove", OUTPUT]
    assert "HF_TOKEN" not in {variable["name"] for variable in container["env"]}


def test_it_goes_once_the_model_is_gone() -> None:
    found = removal(Observed(remover=child(("Complete", "X"), name=REMOVER)))
    assert (reasons(found), found.finalizer) == (["ModelRemoved"], False)
    assert OUTPUT in found.events[0].message


@pytest.mark.parametrize(
    ("observed", "seconds", "says"),
    [
        (
            Observed(
                remover=child(("Failed", "X"), name=REMOVER),
                remover_pods=(ended(68, "s3 refuses the key"),),
            ),
            0,
            "s3 refuses the key",
        ),
        (Observed(remover=child(name=REMOVER)), REMOVAL_LIMIT_S, "not done in 600 s"),
        (Observed(child(), (running(),)), REMOVAL_LIMIT_S, "not done in 600 s"),
        (
            Observed(refusal=Refusal("Job", "exceeded quota: none", NOW, 1)),
            REMOVAL_LIMIT_S,
            "exceeded quota: none",
        ),
        (
            Observed(refusal=Refusal("Job", "namespace search is being terminated", NOW, 1)),
            0,
            "its namespace goes, too",
        ),
    ],
)
def test_it_gives_up_with_an_event(observed: Observed, seconds: float, says: str) -> None:
    found = removal(observed, seconds)
    assert (reasons(found), found.finalizer) == (["ModelNotRemoved"], False)
    assert found.events[0].warning
    assert says in found.events[0].message
    assert OUTPUT in found.events[0].message


def test_a_refusal_is_waited_out() -> None:
    later = NOW + timedelta(seconds=5)
    waits = removal(Observed(refusal=Refusal("Job", "exceeded quota: none", later, 1)))
    assert waits == Plan(again_after_s=5)


def test_a_job_that_never_began_goes_at_once() -> None:
    never = stored(meta=DELETED, **GOES)
    assert decide_removal(never, Observed(), SETTINGS, NOW) == Plan(confirm=True)
    confirmed = decide_removal(never, Observed(confirmed=True), SETTINGS, NOW)
    assert confirmed == Plan(finalizer=False)


def test_a_spec_that_cannot_be_read_holds_nothing_back() -> None:
    unread = stored({"jobName": CHILD}, meta=DELETED, output={"uri": 7})
    found = decide_removal(unread, Observed(), SETTINGS, NOW)
    assert (reasons(found), found.finalizer) == (["ModelNotRemoved"], False)


async def life(api: FakeApi) -> FakeOperator:
    """Trained, deleted, removed."""
    operator = FakeOperator(api)
    await operator.settle()
    if CHILD_PATH not in api.objects:
        await operator.pass_time(10)
    assert api.objects[JOB_PATH]["metadata"]["finalizers"] == [FINALIZER]
    pod(api, ended_state(0, RESULT), "Succeeded")
    api.objects[CHILD_PATH]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    api.put(CHILD_PATH, api.objects[CHILD_PATH])
    operator.deliver()
    await operator.settle()
    job = api.objects[JOB_PATH]
    job["metadata"]["deletionTimestamp"] = operator.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    api.put(JOB_PATH, job)
    operator.deliver()
    await operator.settle()
    if REMOVER_PATH not in api.objects:
        await operator.pass_time(10)
    remover = api.objects[REMOVER_PATH]
    remover["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    api.put(REMOVER_PATH, remover)
    operator.deliver()
    await operator.settle()
    return operator


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_write_fails_once(fault: str) -> None:
    calm = submitted(**GOES)
    await life(calm)
    assert JOB_PATH not in calm.objects
    for number in range(len(calm.writes)):
        api = submitted(**GOES)
        api.fault = (number, *FAULTS[fault])
        operator = await life(api)
        await operator.settle()
        where = calm.writes[number]
        assert JOB_PATH not in api.objects, where
        assert [api.made.count(path) for path in (CHILD_PATH, REMOVER_PATH)] == [1, 1], where
