"""The CRD on a real API server: what it accepts, refuses, defaults, explains and holds fixed."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Training
from tests.api.cases import ACCEPTED, MINIMAL, REFUSED, Case
from tests.conftest import Kubectl

pytestmark = pytest.mark.controlplane

DRY_RUN = ("create", "--dry-run=server", "-o", "json", "-f", "-")


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepted(case: Case, kubectl: Kubectl) -> None:
    stored = json.loads(kubectl(*DRY_RUN, stdin=json.dumps(case.job())).stdout)
    # What the server defaults is what the types default, so both sides see one job.
    mine = FineTuneJob.parse(case.job()).spec
    assert FineTuneJob.parse(stored).spec == mine


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused_with_the_fields_path(case: Case, kubectl: Kubectl) -> None:
    done = kubectl(*DRY_RUN, stdin=json.dumps(case.job()), check=False)
    assert done.returncode != 0
    assert case.says in done.stderr


def test_defaults_are_written_into_the_object(kubectl: Kubectl) -> None:
    stored = json.loads(kubectl(*DRY_RUN, stdin=json.dumps(MINIMAL)).stdout)["spec"]
    defaults = Training().to_dict().items()
    assert stored["training"] == {name: value for name, value in defaults if value != {}}
    assert stored["training"]["epochs"] == 5
    assert stored["data"]["evaluation"]["metric"] == "auto"


@pytest.fixture
def stored(kubectl: Kubectl) -> Iterator[str]:
    job = Case("spec.objective", {"lossOptions": {"margin": 0.2}}).job()
    job["metadata"]["name"] = "stored"
    job["spec"]["storage"] = {"secretRef": {"name": "s3"}}
    kubectl("create", "-f", "-", stdin=json.dumps(job))
    yield "stored"
    kubectl("delete", "ftj", "stored")


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"backbone": "s3://bases/other"}},
        {"model": {"pooling": "cls"}},
        {"data": {"train": {"uri": "s3://datasets/other.csv"}}},
        {"objective": {"itemsPerClass": 2}},
        {"objective": {"lossOptions": {"margin": 0.3}}},
        {"objective": {"lossOptions": {"soft": True}}},
        {"objective": {"lossOptions": None}},
        {"training": {"epochs": 6}},
        {"output": {"uri": "s3://models/other"}},
        {"output": {"retain": False}},
        {"storage": {"secretRef": {"name": "other"}}},
        {"storage": {"secretRef": None}},
        {"resources": {"gpus": 1}},
        {"runtime": {"name": "gpu"}},
    ],
    ids=json.dumps,
)
def test_what_is_set_cannot_be_changed(
    change: dict[str, Any], stored: str, kubectl: Kubectl
) -> None:
    patch = json.dumps({"spec": change})
    done = kubectl("patch", "ftj", stored, "--type=merge", "-p", patch, check=False)
    assert done.returncode != 0
    assert f"spec.{next(iter(change))} cannot be changed once set, since " in done.stderr


@pytest.mark.parametrize("change", [{"name": "cpu"}, {"kind": "ClusterFineTuneRuntime"}, None])
def test_neither_can_the_runtime(change: dict[str, Any] | None, kubectl: Kubectl) -> None:
    job = Case("spec.runtime", {"name": "gpu"}).job() | {"metadata": {"name": "by-runtime"}}
    job["spec"].pop("output")
    kubectl("create", "-f", "-", stdin=json.dumps(job))
    for patch in ({"runtime": change}, {"output": {"uri": "s3://models/late"}}):
        words = ("patch", "ftj", "by-runtime", "--type=merge", "-p", json.dumps({"spec": patch}))
        done = kubectl(*words, check=False)
        assert f"spec.{next(iter(patch))} cannot be changed once set, since " in done.stderr
    suspend = json.dumps({"spec": {"suspend": True}})
    kubectl("patch", "ftj", "by-runtime", "--type=merge", "-p", suspend)
    kubectl("delete", "ftj", "by-runtime")


def test_neither_can_what_the_pod_was_given_of_the_run_policy(
    stored: str, kubectl: Kubectl
) -> None:
    patch = json.dumps({"spec": {"runPolicy": {"checkpoints": {"keep": 9}}}})
    done = kubectl("patch", "ftj", stored, "--type=merge", "-p", patch, check=False)
    assert "spec.runPolicy.checkpoints cannot be changed once set, since the pod" in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"runPolicy": {"activeDeadlineSeconds": 60, "pendingDeadlineSeconds": 60}},
        {"runPolicy": {"backoffLimit": 9, "onOutOfMemory": "moreMemory"}},
        {"runPolicy": {"ttlSecondsAfterFinished": 60, "ttlPolicy": "job"}},
    ],
    ids=json.dumps,
)
def test_how_it_is_run_can_be_changed(
    change: dict[str, Any], stored: str, kubectl: Kubectl
) -> None:
    kubectl("patch", "ftj", stored, "--type=merge", "-p", json.dumps({"spec": change}))


def test_applying_the_same_file_again_changes_nothing(kubectl: Kubectl) -> None:
    job = copy.deepcopy(MINIMAL)
    job["metadata"]["name"] = "again"
    job["spec"]["training"] = {"learningRate": 5e-5, "warmupRatio": 1.0}
    for _ in range(2):
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(job))
    seen = json.loads(kubectl("get", "ftj", "again", "-o", "json").stdout)
    assert seen["metadata"]["generation"] == 1
    diff = kubectl("diff", "--server-side", "-f", "-", stdin=json.dumps(job), check=False)
    assert (diff.returncode, diff.stdout) == (0, "")
    kubectl("delete", "ftj", "again")


def test_the_status_is_a_subresource(stored: str, kubectl: Kubectl) -> None:
    patch = json.dumps({"status": {"state": "Complete"}})
    kubectl("patch", "ftj", stored, "--type=merge", "-p", patch)
    seen = json.loads(kubectl("get", "ftj", stored, "-o", "json").stdout)
    assert seen["status"]["observedGeneration"] == -1, "no operator has seen it"
    assert seen["status"]["state"] == "Pending"
    kubectl("patch", "ftj", stored, "--type=merge", "--subresource=status", "-p", patch)
    seen = json.loads(kubectl("get", "ftj", stored, "-o", "json").stdout)
    assert seen["status"]["state"] == "Complete"


def test_get_shows_the_columns(stored: str, kubectl: Kubectl) -> None:
    header = kubectl("get", "ftj", stored, "-o", "wide").stdout.splitlines()[0]
    assert " ".join(header.split()) == "NAME STATE PROGRESS BEFORE AFTER AGE METRIC REASON MODEL"
    assert "finetunejob.embedtune.dev/stored" in kubectl("get", "all").stdout


def test_explain_reads_well(kubectl: Kubectl) -> None:
    text = kubectl("explain", "finetunejob.spec.model.pooling").stdout
    words = " ".join(text.split())
    assert "How the vectors of a text's tokens, or of an image's places, become one vector" in words
    assert "ENUM: auto mean cls max last" in words
    assert "Default auto" in words
