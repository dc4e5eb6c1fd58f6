"""embedtune as a system under test: the operator as its chart runs it, one replica."""

import sys
from pathlib import Path

from embedtune_api import API_VERSION, KIND, PLURAL
from embedtune_operator.names import LABEL_JOB_NAME
from localcluster.controlplane import ControlPlane
from localcluster.ports import free_port
from scale_parts.fleet import OUTPUT
from scale_parts.sightings import JOB, POD
from scale_parts.systems import IMAGE, NAMESPACE, JsonObject, Kind, Process, System

ROOT = Path(__file__).resolve().parents[2]
USER = "embedtune"


def _manifests() -> tuple[Path | JsonObject, ...]:
    return tuple(sorted((ROOT / "crds").glob("*.yaml")))


def _processes(_plane: ControlPlane, _folder: Path) -> tuple[Process, ...]:
    port = free_port("127.0.0.1")
    env = {
        "EMBEDTUNE_TRAINER_IMAGE": IMAGE,
        "EMBEDTUNE_METRICS_PORT": str(port),
        "EMBEDTUNE_LEASE": f"{NAMESPACE}/embedtune",
    }
    return (
        Process(
            USER,
            (sys.executable, "-m", "embedtune_operator"),
            f"http://127.0.0.1:{port}/readyz",
            tuple(env.items()),
        ),
    )


def _job(name: str) -> JsonObject:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"backbone": "s3://bases/minilm"},
            "data": {"train": {"uri": "s3://datasets/train.csv"}},
            "output": {"uri": OUTPUT},
            # left out, another pod would find them out first
            "resources": {"cpu": "1", "memory": "4Gi", "gpus": 0},
        },
    }


EMBEDTUNE = System(
    name="embedtune",
    about="settings as the chart has them; one replica, with its Lease",
    users=(USER,),
    tools=(),
    kinds=(
        Kind(JOB, f"/apis/{API_VERSION}", PLURAL),
        Kind("Job", "/apis/batch/v1", "jobs", LABEL_JOB_NAME),
        Kind(POD, "/api/v1", "pods", LABEL_JOB_NAME),
    ),
    manifests=_manifests,
    processes=_processes,
    job=_job,
    most=10_000,
)
