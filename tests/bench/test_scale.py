"""bench/scale.py's arithmetic, without a cluster: what it sees, counts, checks and writes."""

import asyncio
import json
import re
from collections import Counter

import pytest
from scale_parts import results, tables
from scale_parts.calls import AuditLog, by_verb, count
from scale_parts.embedtune import EMBEDTUNE
from scale_parts.fake_trainer import page
from scale_parts.fleet import kwok_config, succeeded_template
from scale_parts.kubeflow import KUBEFLOW
from scale_parts.load import at_rate
from scale_parts.observer import Reader
from scale_parts.sightings import FINISHED, GONE, JOB, MADE, POD, SUCCEEDED, Sighting, Sightings
from scale_parts.sightings import spread as spread_of
from scale_parts.systems import NAMESPACE

from embedtune_api.contract import TERMINATION_MAX_BYTES, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_operator.scrape import progress_of
from localcluster.toolchain import GO_DIR

UID = "0f8fad5b-d9cb-469f-a165-70867728950e"
JOBS, CHILDREN, PODS = EMBEDTUNE.kinds


# what is seen


def event(what, name, uid="u", *, status=None, labels=None):
    meta = {"name": name, "uid": uid, "labels": labels or {}}
    return {"type": what, "object": {"metadata": meta, "status": status or {}}}


def test_each_state_of_an_object_is_told_once():
    reader = Reader(PODS)
    labels = {PODS.label: "job-1"}
    events = [
        event("ADDED", "pod", labels=labels),
        event("MODIFIED", "pod", labels=labels, status={"phase": "Running"}),
        event("MODIFIED", "pod", labels=labels, status={"phase": "Succeeded"}),
        event("DELETED", "pod", labels=labels, status={"phase": "Succeeded"}),
    ]
    told = [s for t, e in enumerate(events) for s in reader.read(e, float(t))]
    assert told == [Sighting(0, POD, "job-1", "u", MADE), Sighting(2, POD, "job-1", "u", SUCCEEDED)]


@pytest.mark.parametrize("kind", ["Complete", "Succeeded"])
def test_a_job_is_finished_by_its_condition_and_gone_when_deleted(kind):
    reader = Reader(JOBS)
    conditions = [{"type": "Running", "status": "False"}, {"type": kind, "status": "True"}]
    told = [
        *reader.read(event("ADDED", "job-1"), 0),
        *reader.read(event("MODIFIED", "job-1", status={"conditions": conditions}), 1),
        *reader.read(event("DELETED", "job-1", status={"conditions": conditions}), 2),
    ]
    assert [(s.t, s.job, s.state) for s in told] == [
        (0, "job-1", MADE),
        (1, "job-1", FINISHED),
        (2, "job-1", GONE),
    ]


def test_a_broken_watch_is_an_error():
    with pytest.raises(RuntimeError, match="finetunejobs broke"):
        list(Reader(JOBS).read({"type": "ERROR", "object": {"code": 410}}, 0))


def test_latencies_are_from_the_post_and_from_the_pods_end():
    seen = Sightings()
    seen.sent["a"] = 10.0
    for t, role, state in (
        (10.2, "Job", MADE),
        (10.5, POD, MADE),
        (15.0, POD, SUCCEEDED),
        (15.4, JOB, FINISHED),
    ):
        seen.note(Sighting(t, role, "a", "u", state))
    assert seen.started(["a"], "Job").p99 == pytest.approx(0.2)
    assert seen.started(["a"], POD).p99 == pytest.approx(0.5)
    assert seen.ended(["a"]).p99 == pytest.approx(0.4)
    assert seen.duplicates() == 0


def test_a_second_child_is_a_duplicate_and_does_not_count_as_the_first():
    seen = Sightings()
    seen.sent["a"] = 0.0
    for t, uid in ((1.0, "x"), (2.0, "y"), (3.0, "y")):
        seen.note(Sighting(t, "Job", "a", uid, MADE))
    assert seen.duplicates() == 1
    assert seen.started(["a"], "Job").most == 1.0


def test_what_was_not_seen_is_longer_than_all_that_was():
    found = spread_of([*(i / 100 for i in range(98)), None, None])
    assert (found.p50, found.p99, found.missing) == (0.49, None, 2)
    assert spread_of([float(i) for i in range(1, 101)]).p99 == 99.0


# what is counted


def audit(verb, resource, subresource=None):
    reference = {"resource": resource, "subresource": subresource}
    return json.dumps({"verb": verb, "requestURI": "/x", "objectRef": reference})


def test_calls_are_counted_by_verb_and_resource(tmp_path):
    log = tmp_path / "log"
    log.write_text(audit("patch", "jobs") + "\n" + audit("patch", "finetunejobs", "status") + "\n{")
    reader = AuditLog(log)
    assert reader.news() == Counter({"patch jobs": 1, "patch finetunejobs/status": 1})
    log.write_text(log.read_text()[:-1] + audit("create", "events") + "\n")
    assert reader.news() == Counter({"create events": 1})
    assert by_verb(count([audit("get", "a"), audit("get", "b"), audit("list", "b")])) == {
        "get": 2,
        "list": 1,
    }


async def test_a_load_has_its_rate_however_long_its_calls_take():
    async def slow(name):
        await asyncio.sleep(0.3)
        if name == "3":
            raise RuntimeError("refused")

    achieved = await at_rate(slow, [str(i) for i in range(20)], 100)
    assert achieved.rate == pytest.approx(100, rel=0.3)
    assert achieved.errors == ("3: refused",)
    assert achieved.answered.p50 >= 0.3
    assert achieved.answered.missing == 0


# the parts that KWOK plays


def test_a_pod_ends_with_the_result_that_the_operator_expects_of_its_job():
    message = re.search(r"message: '(.*)'", succeeded_template())[1]
    filled = re.sub(r"\{\{ \$root\.metadata\.namespace \}\}", NAMESPACE, message)
    filled = re.sub(r"\{\{ index \S+ `embedtune.dev/job-name` \}\}", "tune", filled)
    filled = re.sub(r"\{\{ index \S+ `embedtune.dev/job-uid` \}\}", UID, filled)
    assert "{{" not in filled
    assert len(filled.encode()) < TERMINATION_MAX_BYTES
    manifest = EMBEDTUNE.job("tune")
    manifest["metadata"]["uid"] = UID
    assert TrainResult.parse(json.loads(filled)).model.uri == FineTuneJob.parse(manifest).output_uri


def test_every_stage_is_a_document_of_its_own():
    kinds = [json.loads(document)["kind"] for document in kwok_config().split("\n---\n")]
    assert kinds == ["KwokConfiguration", "Stage", "Stage", "Stage"]


def test_the_fake_trainer_is_read_as_a_trainer():
    assert progress_of(page()).percent == 50


def test_the_peers_are_of_the_versions_that_their_tables_name():
    about = " ".join(system.about for system in KUBEFLOW)
    for module, path in (
        ("kubeflow-training", "github.com/kubeflow/training-operator"),
        ("kubeflow-trainer", "github.com/kubeflow/trainer/v2"),
        ("kubeflow-jobset", "sigs.k8s.io/jobset"),
    ):
        required = re.search(rf"{path} (v\S+)", (GO_DIR / module / "go.mod").read_text())
        assert required[1] in about


# what is made of it


def stage(kind, resident, **more):
    known = {"p50": 0.05, "p99": 0.2, "most": 0.3, "missing": 0}
    made = {} if kind == "rest" else {"Job": known, "pod": known}
    return {
        "kind": kind,
        "resident": resident,
        "jobs": 0 if kind == "rest" else 100,
        "rate": 0,
        "achieved": {"rate": 20.0, "late_s": 0.0, "errors": [], "answered": known},
        "started": made,
        "ended": None if kind == "rest" else known,
        "calls": {},
        "verbs": {"watch": 9, "list": 60},
        "seconds": 60.0,
        "cpu_s": {"embedtune": 1.0, "kube-apiserver": 2.0},
        "others_s": 0.0,
        "busy": 0.5,
        "peak_mib": {"embedtune": 200.0},
        "whole": True,
    } | more


def found(*stages, duplicates=0):
    return {
        "about": "a",
        "users": ["embedtune"],
        "duplicates": duplicates,
        "stages": list(stages),
        "plan": {"patience_s": 300},
        "machine": "m",
        "command": "c",
    }


WHOLE = (
    stage("rest", 0),
    stage("load", 0, rate=20),
    stage("load", 1000, rate=100),
    stage("rest", 10_000),
    stage("churn", 10_000, rate=20),
)


def test_all_goals_can_be_met():
    assert [goal.met for goal in results.goals(found(*WHOLE))] == [True] * 6


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        (lambda s: s["started"]["Job"].update(p99=0.6), [0, 1]),
        (lambda s: s["ended"].update(p99=None), [2]),
        (lambda s: s["peak_mib"].update(embedtune=301), [3]),
        (lambda s: s.update(verbs={"watch": 9 + s["resident"] // 100}), [5]),
    ],
)
def test_a_goal_is_missed(change, missed):
    stages = json.loads(json.dumps(WHOLE))
    for each in stages:
        if each["ended"] is not None or missed == [5]:
            change(each)
    assert [i for i, goal in enumerate(results.goals(found(*stages))) if not goal.met] == missed


def test_duplicates_miss_their_goal_and_a_trial_measures_too_little():
    goals = results.goals(found(stage("rest", 0), stage("load", 0, rate=20), duplicates=1))
    assert [goal.met for goal in goals] == [True, False, True, False, False, False]


def test_a_latency_that_was_not_seen_is_more_than_the_time_waited():
    assert tables.seconds(None, 300) == "> 300 s"
    assert tables.seconds(0.0123, 300) == "12 ms"
    assert tables.seconds(23.46, 300) == "23.5 s"


def test_every_system_that_was_measured_is_in_the_tables():
    text = results.measured({"embedtune": found(*WHOLE), "trainer": found(*WHOLE)}, [])
    assert text.count("| trainer | 50 ms | 200 ms | Job | 50 ms | 200 ms |") == 2
    assert "| trainer | 10,000 | 9 | 60 | 1.7% | 200 |" in text


def test_a_system_alone_has_no_pods_and_its_jobs_no_end():
    alone = EMBEDTUNE.alone()
    assert [kind.role for kind in alone.kinds] == [JOB, "Job"]
    load = stage("load", 0, rate=20, ended=None)
    del load["started"]["pod"]
    text = results.measured({alone.name: found(load)}, [])
    assert (
        "| embedtune, alone | 50 ms | 200 ms | Job | 50 ms | 200 ms | - | - | - | - | 20.0/s |"
        in text
    )


def test_the_document_has_the_tables_of_the_results():
    kept = results.read(results.RESULTS)
    part = results.measured(kept, results.goals(kept["embedtune"])) if kept else ""
    assert part in results.DOCUMENT.read_text()
