"""The children of a job, compared with golden YAML."""

import json
from typing import Any

import pytest

from embedtune_api import contract
from embedtune_api.job import NAME_MAX, FineTuneJob
from embedtune_api.run import RunPolicy
from embedtune_operator.blueprint import blueprint
from embedtune_operator.manifests import child_job, child_name, config_map
from embedtune_operator.settings import Settings
from tests.operator.objects import SETTINGS, UID, golden, raw_job

CASES: dict[str, dict[str, Any]] = {
    "smallest": {},
    "everything": {
        "storage": {
            "endpoint": "https://s3.example.com",
            "region": "eu-central-1",
            "secretRef": {"name": "s3-credentials"},
            "hfTokenSecretRef": {"name": "hub"},
        },
        "model": {"backbone": "pvc://models/bert", "normalize": False},
        "data": {
            "train": {"uri": "pvc://data/train.csv"},
            "evaluation": {"uri": "pvc://data/test.csv"},
        },
        "loggers": {
            "wandb": {"project": "search", "secretRef": {"name": "wandb"}},
            "mlflow": {
                "trackingUri": "http://mlflow.mlops.svc:5000",
                "secretRef": {"name": "mlflow"},
            },
        },
        "resources": {"gpus": 2, "cpu": "3500m", "memory": "32Gi"},
        "runPolicy": {
            "backoffLimit": 5,
            "activeDeadlineSeconds": 3600,
            "ttlSecondsAfterFinished": 60,
        },
    },
}
PRIVATE = Settings.from_env(
    {
        "EMBEDTUNE_TRAINER_IMAGE": "registry.example.com/trainer@sha256:abc",
        "EMBEDTUNE_TRAINER_PULL_POLICY": "Always",
        "EMBEDTUNE_TRAINER_PULL_SECRETS": "registry-1, registry-2",
        "EMBEDTUNE_TRAINER_PRIVATE_ADDRESSES": "true",
        "EMBEDTUNE_SCRATCH_SIZE": "100Gi",
    }
)


def job(**spec: Any) -> FineTuneJob:
    return FineTuneJob.parse(raw_job(**spec))


@pytest.mark.parametrize("case", CASES)
def test_children(case: str) -> None:
    settings = PRIVATE if case == "everything" else SETTINGS
    made_by = blueprint(job(**CASES[case]), None, settings)
    golden(f"children/{case}.job.yaml", child_job(made_by))
    golden(f"children/{case}.configmap.yaml", config_map(made_by.job))


def test_the_trainer_reads_what_the_operator_writes() -> None:
    made = job(**CASES["everything"])
    read = FineTuneJob.parse(json.loads(config_map(made)["data"][contract.JOB_KEY]))
    lasting = RunPolicy(checkpoints=made.spec.run_policy.checkpoints)
    assert read.spec == made.spec.model_copy(update={"suspend": False, "run_policy": lasting})
    assert read.output_uri == made.output_uri


def test_longest_name_still_names_a_pod() -> None:
    name = child_name("x" * NAME_MAX, UID)
    assert len(name) <= 63
    assert name.endswith("-0f8fad5b")


def test_a_jobs_strings_reach_no_command() -> None:
    made_by = blueprint(job(), None, SETTINGS)
    container = child_job(made_by)["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["python3", "-m", "embedtune_trainer"]
    assert "args" not in container
