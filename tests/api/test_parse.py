"""The API types by themselves: what they accept, refuse and say."""

import pytest

from embedtune_api.base import InvalidJob
from embedtune_api.job import FineTuneJob
from tests.api.cases import ACCEPTED, MINIMAL, REFUSED, Case


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepted(case: Case) -> None:
    job = FineTuneJob.parse(case.job())
    again = FineTuneJob.parse(job.trainer_input())
    assert again == job


@pytest.mark.parametrize("case", [c for c in REFUSED if not c.cluster_only], ids=str)
def test_refused_with_the_fields_path(case: Case) -> None:
    with pytest.raises(InvalidJob) as refusal:
        FineTuneJob.parse(case.job())
    assert case.says in str(refusal.value)


def test_every_wrong_field_is_named_at_once() -> None:
    job = Case("spec.training", {"epochs": 0, "batchSize": 1, "sede": 3}).job()
    with pytest.raises(InvalidJob) as refusal:
        FineTuneJob.parse(job)
    lines = str(refusal.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "spec.training.epochs",
        "spec.training.batchSize",
        "spec.training.sede",
    ]


def test_no_two_jobs_share_a_prefix() -> None:
    job = FineTuneJob.parse(MINIMAL | {"metadata": {"name": "a", "namespace": "n", "uid": "u-1"}})
    assert job.output_uri == "s3://models/tuned/n/a/u-1/"


def test_metadata_of_a_real_object_is_let_through() -> None:
    metadata = {"name": "a", "namespace": "n", "uid": "u", "generation": 3, "managedFields": [{}]}
    assert FineTuneJob.parse(MINIMAL | {"metadata": metadata}).metadata.generation == 3


def test_the_operator_sees_every_entry_of_a_mix() -> None:
    job = Case("spec.data", {"mix": [{"uri": "pvc://one/a.csv"}, {"uri": "pvc://two/b.csv"}]}).job()
    spec = FineTuneJob.parse(job).spec
    assert {"pvc://one/a.csv", "pvc://two/b.csv"} <= set(spec.uris)
    assert spec.claims == ("one", "two")
    assert [place for place, _ in spec.data.entries] == ["spec.data.mix[0]", "spec.data.mix[1]"]
    assert spec.data.weights is None
