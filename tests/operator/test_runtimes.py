"""By which runtime a job is run: chosen once, written down first, and the same to the end."""

from dataclasses import replace
from typing import Any

import pytest

from embedtune_api import reasons
from embedtune_api.runtime import CLUSTER_RUNTIME, RUNTIME, RuntimeKind
from embedtune_operator.names import FINALIZER
from embedtune_operator.observe import Observed
from embedtune_operator.plan import Plan
from embedtune_operator.removal import decide_removal
from embedtune_operator.views import StoredJob, StoredRuntime
from tests.api.test_runtimes import FULL
from tests.operator.fake_api import JOB_PATH, FakeOperator, submitted
from tests.operator.objects import (
    NOW,
    SETTINGS,
    UID,
    child,
    ended,
    golden,
    pod,
    raw_runtime,
    stored,
)
from tests.operator.test_decide import plan
from tests.operator.test_faults import CHILD_PATH, TEAM_PATH
from tests.operator.world import condition

JsonObject = dict[str, Any]
SMALLEST: JsonObject = {"output": {}}
OUTPUT: JsonObject = {"output": {"uri": "s3://models/{namespace}/tuned"}}


def runtime(name: str = "team", kind: RuntimeKind = RUNTIME, **spec: Any) -> StoredRuntime:
    return StoredRuntime.of(kind, raw_runtime(name, kind, **spec))


def begun(*runtimes: StoredRuntime, job: StoredJob | None = None, **spec: Any) -> Plan:
    """The plan that makes the children: what is settled is written down before it."""
    first = plan(job or stored(**SMALLEST | spec), Observed(runtimes=runtimes))
    assert first.again
    assert first.children == ()
    assert first.events == ()
    made = plan(stored(first.status, **SMALLEST | spec), Observed())
    assert [c["kind"] for c in made.children] == ["ConfigMap", "Job"]
    return made


def status_of(found: Plan) -> JsonObject:
    assert found.status is not None
    return found.status


def template(found: Plan) -> JsonObject:
    spec: JsonObject = found.children[1]["spec"]["template"]["spec"]
    return spec


def waits(observed: Observed, reason: str, **spec: Any) -> str:
    """The message of a job that waits, once the API server itself was asked."""
    job = stored(**SMALLEST | spec)
    assert plan(job, observed) == Plan(confirm=True)
    found = plan(job, replace(observed, confirmed=True))
    status = status_of(found)
    assert (status["state"], status["reason"], found.children) == ("Pending", reason, ())
    assert condition(status, "Stalled")["status"] == "True"
    assert reason in reasons.WAITS_FOR_RUNTIME
    assert [e.reason for e in found.events] == [reason]
    again = plan(stored(status, **SMALLEST | spec), observed)
    assert (again.status, again.confirm) == (None, False), "the API server is asked once"
    return str(condition(status, "Stalled")["message"])


def test_children_by_a_runtime_that_says_everything() -> None:
    made = begun(runtime(**FULL), resources={"className": "large", "cpu": 3})
    golden("children/runtime.configmap.yaml", made.children[0])
    golden("children/runtime.job.yaml", made.children[1])
    golden("status/runtime.yaml", made.status)


def test_the_smallest_job_is_a_backbone_and_data() -> None:
    status = status_of(begun(runtime(default=True, **OUTPUT)))
    assert status["outputUri"] == f"s3://models/search/tuned/search/tune/{UID}/"
    assert status["runtime"] == {
        "kind": RUNTIME,
        "name": "team",
        "uid": "uid-of-team",
        "generation": 3,
        "spec": {"default": True, **OUTPUT},
    }


DEFAULT_TEAM = runtime("team", default=True, **OUTPUT)
DEFAULT_ALL = runtime("all", CLUSTER_RUNTIME, default=True, **OUTPUT)


@pytest.mark.parametrize(
    ("runtimes", "spec", "name"),
    [
        ((DEFAULT_ALL, DEFAULT_TEAM), {}, "team"),
        ((DEFAULT_ALL, runtime("team", **OUTPUT)), {}, "all"),
        ((DEFAULT_ALL, runtime("b", CLUSTER_RUNTIME, default=True), DEFAULT_TEAM), {}, "team"),
        ((DEFAULT_TEAM, runtime("own", **OUTPUT)), {"runtime": {"name": "own"}}, "own"),
        (
            (DEFAULT_TEAM, runtime("team", CLUSTER_RUNTIME, image="all:1", **OUTPUT)),
            {"runtime": {"name": "team", "kind": CLUSTER_RUNTIME}},
            "team",
        ),
    ],
)
def test_which_runtime(runtimes: tuple[StoredRuntime, ...], spec: JsonObject, name: str) -> None:
    used = status_of(begun(*runtimes, **spec))["runtime"]
    assert used["name"] == name
    assert used["kind"] == spec.get("runtime", {}).get("kind", used["kind"])
    assert ("image" in used["spec"]) == (used["kind"] == CLUSTER_RUNTIME and name == "team")


def test_without_any_it_is_the_charts_values_alone() -> None:
    found = plan(stored(), Observed(runtimes=(runtime("other", image="other:1"),)))
    assert len(found.children) == 2, "there is nothing to settle"
    assert template(found)["containers"][0]["image"] == SETTINGS.trainer_image
    assert "runtime" not in status_of(found)


def test_a_jobs_own_word_goes_first() -> None:
    own: JsonObject = {
        "output": {"uri": "s3://mine/x"},
        "storage": {"endpoint": "https://s3.example.com", "secretRef": {"name": "mine"}},
        "resources": {"memory": "9Gi"},
    }
    made = begun(runtime(**FULL), **own)
    (container,) = template(made)["containers"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "9Gi", "rdma/hca": 1}
    env = {entry["name"]: entry for entry in container["env"]}
    assert env["AWS_ENDPOINT_URL"]["value"] == "https://s3.example.com"
    assert env["AWS_REGION"]["value"] == "eu-1"
    assert env["AWS_ACCESS_KEY_ID"]["valueFrom"]["secretKeyRef"]["name"] == "mine"
    assert status_of(made)["outputUri"].startswith("s3://mine/x/search/tune/")


def test_two_defaults_are_named() -> None:
    pair = (runtime("b", default=True), runtime("a", default=True), DEFAULT_ALL)
    message = waits(Observed(runtimes=pair), reasons.RUNTIME_AMBIGUOUS)
    assert "the FineTuneRuntimes a and b all have spec.default: true" in message
    begun(*pair[1:], job=stored(output={"uri": "s3://models/x"}), output={"uri": "s3://models/x"})


@pytest.mark.parametrize("kind", [RUNTIME, CLUSTER_RUNTIME])
def test_one_that_is_missing_is_waited_for(kind: RuntimeKind) -> None:
    spec = {"runtime": {"name": "gpu", "kind": kind}, "output": {"uri": "s3://models/x"}}
    message = waits(Observed(runtimes=(DEFAULT_TEAM,)), reasons.RUNTIME_NOT_FOUND, **spec)
    assert message.startswith(f"spec.runtime: there is no {kind} gpu")
    begun(runtime("gpu", kind), **spec)


def test_a_class_that_is_missing_is_named() -> None:
    spec = {"resources": {"className": "huge"}}
    message = waits(Observed(runtimes=(DEFAULT_TEAM,)), reasons.RESOURCE_CLASS_NOT_FOUND, **spec)
    assert "spec.resources.className: huge: the FineTuneRuntime team has no such class" in message
    message = waits(
        Observed(), reasons.RESOURCE_CLASS_NOT_FOUND, output={"uri": "s3://models/x"}, **spec
    )
    assert "huge: there is no runtime" in message


def test_an_output_that_nobody_gives_is_named() -> None:
    message = waits(Observed(), reasons.OUTPUT_MISSING)
    assert message.startswith("spec.output.uri: the job does not say where its model goes, and no")
    message = waits(Observed(runtimes=(runtime(default=True),)), reasons.OUTPUT_MISSING)
    assert "neither does the FineTuneRuntime team" in message


def test_a_runtime_that_cannot_be_read_is_named() -> None:
    broken = runtime(default=True, image=7, tolerations=[{"effect": "Never"}])
    message = waits(Observed(runtimes=(broken,)), reasons.RUNTIME_INVALID)
    assert "the FineTuneRuntime team cannot be used: spec.image: " in message
    assert "spec.tolerations[0].effect: " in message


def test_a_suspended_job_waits_for_nothing() -> None:
    found = plan(stored(suspend=True, **SMALLEST), Observed(confirmed=True))
    assert status_of(found)["state"] == "Suspended"


def test_what_waits_too_long_fails() -> None:
    spec = SMALLEST | {"runPolicy": {"pendingDeadlineSeconds": 60}}
    since = status_of(plan(stored(**spec), Observed(confirmed=True)))
    for stands in since["conditions"]:
        stands["lastTransitionTime"] = "2026-11-24T11:58:00Z"
    status = status_of(plan(stored(since, **spec), Observed()))
    assert status["reason"] == reasons.PENDING_DEADLINE_EXCEEDED
    assert "OutputMissing" in condition(status, "Failed")["message"]


CHANGED = runtime(default=True, image="other:2", **OUTPUT)


def test_a_later_change_does_not_touch_what_has_begun() -> None:
    spec = SMALLEST | {"runPolicy": {"onOutOfMemory": "moreMemory"}}
    first = runtime(default=True, image="one:1", defaultResourceClass="s", **OUTPUT)
    first = replace(first, body=first.body[:-1] + b',"resourceClasses":{"s":{"memory":"6Gi"}}}')
    made = begun(first, **spec)
    killed = ended(137, "", "OOMKilled")
    oom = Observed(child(("Failed", "PodFailurePolicy")), (killed,), confirmed=True)
    second = plan(stored(made.status, **spec), replace(oom, runtimes=(CHANGED,)))
    (container,) = template(second)["containers"]
    assert (container["image"], container["resources"]["limits"]["memory"]) == ("one:1", "12Gi")
    assert status_of(second)["runtime"] == status_of(made)["runtime"]
    again = plan(stored(made.status, **spec), Observed(runtimes=(CHANGED,), confirmed=True))
    assert template(again)["containers"][0]["image"] == "one:1", "a child that is made again, too"


def test_a_job_of_the_version_before_takes_no_runtime_in_its_midst() -> None:
    before = status_of(plan(stored(), Observed()))
    del before["outputUri"]
    again = plan(stored(before), Observed(runtimes=(CHANGED,), confirmed=True))
    assert "runtime" not in status_of(again)
    assert template(again)["containers"][0]["image"] == SETTINGS.trainer_image


def test_a_mangled_status_keeps_its_runtime() -> None:
    used = status_of(begun(DEFAULT_TEAM))["runtime"]
    mangled = {"conditions": "none", "runtime": used}
    status = status_of(plan(stored(mangled, **SMALLEST), Observed(child(), (pod(),))))
    assert status["runtime"] == used


def test_the_remover_is_made_by_what_was_settled() -> None:
    spec = {"output": {"retain": False}}
    meta = {"finalizers": [FINALIZER], "deletionTimestamp": "2026-11-24T11:59:59Z"}
    used = {"kind": RUNTIME, "name": "team", "uid": "u", "generation": 1, "spec": FULL}
    job = stored({"jobName": "tune-0f8fad5b", "runtime": used}, meta=meta, **spec)
    found = decide_removal(job, Observed(), SETTINGS, NOW)
    golden("children/runtime-remover.job.yaml", found.children[0])


def test_an_image_that_cannot_be_pulled_is_the_runtimes() -> None:
    made = begun(runtime(default=True, image="wrong:1", **OUTPUT))
    stuck = pod({"waiting": {"reason": "ErrImagePull", "message": "no such image"}})
    status = status_of(plan(stored(made.status, **SMALLEST), Observed(child(), (stuck,))))
    message = condition(status, "Stalled")["message"]
    assert "Correct spec.image or spec.pullSecrets of the FineTuneRuntime team" in message


@pytest.mark.parametrize("own", [{}, {"storage": {"secretRef": {"name": "mine"}}}])
def test_a_secret_that_is_missing_is_the_jobs_or_the_runtimes(own: JsonObject) -> None:
    team = runtime(default=True, storage={"secretRef": {"name": "s3"}}, **OUTPUT)
    made = begun(team, **own)
    told = {"reason": "CreateContainerConfigError", "message": 'secret "s3" not found'}
    told["message"] = told["message"].replace("s3", "mine" if own else "s3")
    seen = Observed(child(), (pod({"waiting": told}),))
    status = status_of(plan(stored(made.status, **SMALLEST | own), seen))
    whose = "" if own else "the FineTuneRuntime team's "
    assert f"({whose}spec.storage.secretRef names it)" in condition(status, "Stalled")["message"]


def test_what_a_queue_holds_back_is_the_queues_to_let_go() -> None:
    made = begun(runtime(default=True, queueName="ml", **OUTPUT))
    labels = made.children[1]["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "ml"
    held = Observed(child(("Suspended", "JobSuspended"), spec={"suspend": True}, labels=labels))
    found = plan(stored(made.status, **SMALLEST), held)
    assert (found.child_patch, status_of(found)["reason"]) == (None, reasons.QUEUED)
    told = plan(stored(made.status, suspend=True, **SMALLEST), Observed(child(labels=labels)))
    assert (told.child_patch, told.may_run) == (None, False)


async def test_a_job_goes_on_when_its_runtime_is_made() -> None:
    api = submitted(**SMALLEST)
    operator = FakeOperator(api)
    await operator.settle()
    assert api.objects[JOB_PATH]["status"]["reason"] == reasons.OUTPUT_MISSING
    writes = len(api.writes)
    await operator.settle()
    assert len(api.writes) == writes, "nothing new, nothing written"
    api.put(TEAM_PATH, raw_runtime(default=True, **OUTPUT))
    operator.deliver()
    assert operator.queued == {UID}
    await operator.settle()
    assert CHILD_PATH in api.objects
    assert api.objects[JOB_PATH]["status"]["runtime"]["name"] == "team"
    api.put(TEAM_PATH, raw_runtime("other", default=True, **OUTPUT))
    operator.deliver()
    assert operator.queued == set(), "and nothing of it afterwards"


async def test_a_runtime_that_the_watch_is_late_with_is_read() -> None:
    api = submitted(**SMALLEST | {"runtime": {"name": "team"}})
    operator = FakeOperator(api)
    api.put(TEAM_PATH, raw_runtime(**OUTPUT))
    await operator.settle(deliver=False)
    assert CHILD_PATH in api.objects
    events = [o for path, o in api.objects.items() if "/events/" in path]
    assert [e["reason"] for e in events] == ["Created"], "it was never said to be missing"
