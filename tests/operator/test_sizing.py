"""A job that leaves resources out is looked at by a pod, before that of its training is made."""

import json
from dataclasses import replace
from typing import Any

import pytest

from embedtune_api.contract import TERMINATION_MAX_BYTES, Failure, SizeResult
from embedtune_api.job import FineTuneJob
from embedtune_api.status import SizedResources
from embedtune_operator.blueprint import blueprint
from embedtune_operator.cache import Cache
from embedtune_operator.children import ChildJob, Pod
from embedtune_operator.manifests import child_job, sizer_job
from embedtune_operator.observe import Observed, observe
from embedtune_operator.plan import Plan
from embedtune_operator.views import StoredJob
from tests.operator.fake_api import JOB_PATH, FakeApi, FakeOperator, submitted
from tests.operator.objects import (
    CHILD,
    SETTINGS,
    child,
    ended,
    golden,
    pod,
    raw_job,
    running,
    stored,
    waiting,
)
from tests.operator.test_decide import RESULT, plan
from tests.operator.test_faults import CHILD_PATH, FAULTS
from tests.operator.test_faults import ended as ended_state
from tests.operator.test_faults import pod as put_pod

JsonObject = dict[str, Any]
SIZES = replace(SETTINGS, sizing=True)
ALL: JsonObject = {"cpu": "2", "memory": "6Gi", "gpus": 0}
SIZER = f"{CHILD}-s"
SIZER_PATH = f"/apis/batch/v1/namespaces/search/jobs/{SIZER}"
SIZER_UID = "11111111-7425-40de-944b-e07fc1f90ae7"
NEEDS = SizedResources(
    cpu="4",
    memory="3328Mi",
    gpus=0,
    shm="64Mi",
    ephemeral_storage="2304Mi",
    reasoning=("memory 3328Mi: runtime 960 MiB, activations 810 MiB", "cpu 4: about 2.0 hours"),
)
FOUND = SizeResult(resources=NEEDS).to_message()
NOT_THERE = SizeResult(failure=Failure(reason="NotFound", message="s3://bases/minilm: nothing"))


def sizer(*conditions: tuple[str, str], **meta: Any) -> ChildJob:
    found = child(*conditions, name=SIZER, uid=SIZER_UID, **meta)
    assert found.id.name == SIZER
    return found


def of_sizer(found: Pod) -> Pod:
    return replace(found, owner=SIZER_UID, component="sizer")


def seen(*pods: Pod, job: ChildJob | None = None, **more: Any) -> Observed:
    return Observed(sizer=job or sizer(), sizer_pods=tuple(map(of_sizer, pods)), **more)


def sized(job: StoredJob, observed: Observed, **settings: Any) -> Plan:
    return plan(job, observed, settings=replace(SIZES, **settings))


def status(found: Plan) -> JsonObject:
    assert found.status is not None
    return found.status


def limits(manifest: JsonObject) -> JsonObject:
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    found: JsonObject = container["resources"]["limits"]
    return found


@pytest.mark.parametrize("left_out", ALL)
def test_what_is_left_out_is_found_out_first(left_out: str) -> None:
    given = {name: value for name, value in ALL.items() if name != left_out}
    found = sized(stored(resources=given), Observed())
    assert [c["metadata"]["name"] for c in found.children] == [CHILD, SIZER]
    assert (status(found)["state"], status(found)["reason"]) == ("Pending", "Sizing")
    assert "jobName" not in status(found)
    assert [event.reason for event in found.events] == ["Sizing"]


def test_a_job_that_says_all_of_it_costs_nothing_more() -> None:
    found = sized(stored(resources=ALL), Observed())
    assert [c["metadata"]["name"] for c in found.children] == [CHILD, CHILD]
    assert "resources" not in status(found)


def test_without_sizing_a_job_gets_the_defaults() -> None:
    found = plan(stored(), Observed())
    assert limits(found.children[1]) == {"cpu": "1", "memory": "4Gi"}


def test_the_pod_that_sizes() -> None:
    spec = {
        "storage": {"secretRef": {"name": "s3"}, "hfTokenSecretRef": {"name": "hub"}},
        "data": {"train": {"uri": "pvc://data/train.csv"}},
    }
    job = FineTuneJob.parse(raw_job(**spec))
    golden("children/sizer.job.yaml", sizer_job(blueprint(job, None, SIZES)))


def test_what_was_found_makes_the_training_and_is_told_once() -> None:
    known = status(sized(stored(), Observed()))
    found = sized(stored(known), seen(ended(0, FOUND, reason="Completed")))
    assert limits(found.children[1]) == {"cpu": "4", "memory": "3328Mi"}
    assert status(found)["resources"] == NEEDS.to_dict()
    assert [event.reason for event in found.events] == ["Sized", "Created"]
    assert found.events[0].message == "; ".join(NEEDS.reasoning)
    # its pod and its Job may go now
    later = Observed(child(), (running(),))
    again = sized(stored(status(found)), later)
    assert status(again)["resources"] == NEEDS.to_dict()
    assert [event.reason for event in again.events] == ["Training"]


def test_the_training_that_was_sized() -> None:
    job = FineTuneJob.parse(raw_job())
    golden("children/sized.job.yaml", child_job(blueprint(job, None, SIZES, NEEDS)))


def test_what_the_job_gives_stays_as_it_is() -> None:
    job = stored(resources={"memory": "2Gi"})
    found = sized(job, seen(ended(0, FOUND, reason="Completed")), sizing_max_cpu="3")
    assert limits(found.children[1]) == {"cpu": "3", "memory": "2Gi"}
    recorded = status(found)["resources"]
    assert (recorded["cpu"], recorded["memory"]) == ("3", "2Gi")


def test_a_child_that_was_made_before_the_status_was_written() -> None:
    known = status(sized(stored(), Observed()))
    found = sized(stored(known), seen(ended(0, FOUND), child=child(), pods=(running(),)))
    assert status(found)["resources"] == NEEDS.to_dict()
    assert found.children == ()


def test_a_job_that_was_begun_without_is_not_sized() -> None:
    begun = status(plan(stored(), Observed()))
    gone = Observed(confirmed=True)
    assert [c["kind"] for c in sized(stored(begun), gone).children] == ["ConfigMap", "Job"]
    assert sized(stored(begun), gone).children[1]["metadata"]["name"] == CHILD


def test_what_the_training_would_end_with_ends_the_job_before_it() -> None:
    message = NOT_THERE.to_message()
    found = sized(stored(), seen(ended(67, message), job=sizer(("Failed", "PodFailurePolicy"))))
    assert (status(found)["state"], status(found)["reason"]) == ("Failed", "NotFound")
    assert status(found)["conditions"][3]["message"] == "s3://bases/minilm: nothing"
    assert found.children == ()


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ((ended(80, "no answer"), ended(137, "", reason="OOMKilled")), "exit code 137 OOMKilled"),
        ((ended(0, "what?"),), "left no result"),
        ((ended(0, SizeResult(failure=Failure(reason="", message="odd"))
            .to_message()),), "odd"),
        ((), "BackoffLimitExceeded"),
    ],
)  # fmt: skip
def test_where_nothing_can_be_found_the_job_gets_the_defaults(
    pods: tuple[Pod, ...], said: str
) -> None:
    over = sizer(("Failed", "BackoffLimitExceeded"))
    if not any(p.terminated and p.terminated.exit_code == 0 for p in pods):
        assert sized(stored(), seen(*pods, job=over)).confirm
    found = sized(stored(), seen(*pods, job=over, confirmed=True))
    assert limits(found.children[1]) == {"cpu": "1", "memory": "4Gi"}
    (reason,) = status(found)["resources"]["reasoning"]
    assert reason.startswith("the platform's defaults")
    assert said in reason


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (waiting("ImagePullBackOff"), "ImagePullFailed"),
        (waiting("CreateContainerConfigError", 'secret "s3" not found'), "ContainerConfigError"),
        (
            pod(node="", conditions=[{"type": "PodScheduled", "status": "False", "message": "0"}]),
            "Unschedulable",
        ),
        (running(), "Sizing"),
        (ended(80, "no answer"), "Sizing"),
    ],
)
def test_what_keeps_it_from_being_found_out_is_told(found: Pod, reason: str) -> None:
    told = sized(stored(), seen(found))
    assert status(told)["reason"] == reason
    assert told.children == ()


def test_more_than_the_platform_gives_unasked_fails_with_what_to_do() -> None:
    observed = seen(ended(0, FOUND))
    found = sized(stored(), observed, sizing_max_memory="3Gi")
    assert (status(found)["state"], status(found)["reason"]) == ("Failed", "TooLarge")
    assert "3328Mi" in status(found)["conditions"][3]["message"]
    assert status(found)["resources"]["memory"] == "3328Mi"
    assert found.children == ()
    asked = sized(stored(resources={"memory": "3328Mi"}), observed, sizing_max_memory="3Gi")
    assert len(asked.children) == 2


def test_a_suspended_job_is_not_sized_until_it_is_resumed() -> None:
    held = sized(stored(suspend=True), Observed())
    assert held.children == ()
    resumed = sized(stored(status(held), generation=2), Observed())
    assert [c["metadata"]["name"] for c in resumed.children] == [CHILD, SIZER]


@pytest.mark.parametrize("labels", [{"kueue.x-k8s.io/queue-name": "default"}, {}])
def test_a_sizing_that_kueue_holds_says_so(labels: dict[str, str]) -> None:
    """It may put every Job of a namespace into a queue, or hold those that are in none."""
    held = sizer(("Suspended", "JobSuspended"), spec={"suspend": True}, labels=labels)
    found = sized(stored(), seen(job=held))
    assert status(found)["reason"] == "Queued"
    assert SIZER in status(found)["conditions"][0]["message"]


def test_a_sizing_pod_is_never_taken_for_a_training() -> None:
    cache = Cache()
    cache.put_pod(of_sizer(ended(0, FOUND)))
    swept = observe(cache, stored(), progress={}, refusal=None, confirmed=False)
    assert (swept.pods, swept.sizer_pods) == ((), ())  # as its Job is gone
    cache.put_child(replace(sizer(), owner=stored().id.uid))
    there = observe(cache, stored(), progress={}, refusal=None, confirmed=False)
    assert (there.pods, len(there.sizer_pods)) == ((), 1)


async def life(api: FakeApi) -> FakeOperator:
    """Sized, trained."""
    operator = FakeOperator(api, SIZES)
    await operator.settle()
    if SIZER_PATH not in api.objects:
        await operator.pass_time(10)
    put_pod(api, ended_state(0, FOUND), "Succeeded", "sizes", SIZER_PATH)
    operator.deliver()
    await operator.settle()
    if CHILD_PATH not in api.objects:
        await operator.pass_time(10)
    put_pod(api, ended_state(0, RESULT), "Succeeded")
    operator.deliver()
    await operator.settle()
    return operator


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_write_fails_once(fault: str) -> None:
    calm = submitted()
    await life(calm)
    expected = calm.objects[JOB_PATH]["status"]
    assert (expected["state"], expected["resources"]) == ("Complete", NEEDS.to_dict())
    for number in range(len(calm.writes)):
        api = submitted()
        api.fault = (number, *FAULTS[fault])
        operator = await life(api)
        await operator.settle()
        where, found = calm.writes[number], api.objects[JOB_PATH]["status"]
        assert (found["state"], found["resources"]) == ("Complete", NEEDS.to_dict()), where
        assert [api.made.count(path) for path in (SIZER_PATH, CHILD_PATH)] == [1, 1], where
        assert limits(api.objects[CHILD_PATH])["memory"] == "3328Mi", where


def test_a_result_fits_a_termination_message() -> None:
    long = NEEDS.model_copy(update={"reasoning": tuple(f"{i}: " + "ä" * 300 for i in range(40))})
    text = SizeResult(resources=long).to_message()
    assert len(text.encode()) <= TERMINATION_MAX_BYTES
    assert json.loads(text)["resources"]["reasoning"][0] == long.reasoning[0]
    text = SizeResult(failure=Failure(reason="BadData", message="x" * 9000 + "end")).to_message()
    assert len(text.encode()) <= TERMINATION_MAX_BYTES
    assert json.loads(text)["failure"]["message"].endswith("end")


def test_the_jobs_start_is_that_of_its_training() -> None:
    assert "startTime" not in status(sized(stored(), seen(running())))
