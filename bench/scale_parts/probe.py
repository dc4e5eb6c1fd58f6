"""The least operator there is, for what any would take: one Job applied, one status written.

It is kopf's own way of it, at kopf's defaults. Its jobs never end: nothing reads their Jobs.
"""

import sys
from pathlib import Path

from localcluster.controlplane import ControlPlane
from localcluster.ports import free_port
from scale_parts.sightings import JOB, POD
from scale_parts.systems import NAMESPACE, JsonObject, Kind, Process, System

GROUP, VERSION, PLURAL = "probe.bench", "v1", "probes"
LABEL = "probe.bench/job"
USER = "probe"
_CRD: JsonObject = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{PLURAL}.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "Probe", "plural": PLURAL, "singular": "probe"},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def _processes(plane: ControlPlane, _folder: Path) -> tuple[Process, ...]:
    live = f"http://127.0.0.1:{free_port('127.0.0.1')}/healthz"
    handlers = str(Path(__file__).with_name("probe_handlers.py"))
    argv = (sys.executable, "-m", "kopf", "run", "--standalone", "-q", "-n", NAMESPACE)
    env = {
        "PROBE_URL": plane.url,
        "PROBE_CA": str(plane.pki.certificate("ca")),
        "PROBE_CERTIFICATE": str(plane.pki.certificate(USER)),
        "PROBE_KEY": str(plane.pki.key(USER)),
    }
    return (Process(USER, (*argv, "--liveness", live, handlers), live, tuple(env.items())),)


def _job(name: str) -> JsonObject:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Probe",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"data": "s3://datasets/train.csv"},
    }


PROBE = System(
    name="kopf probe",
    about="a kopf handler of 20 lines at kopf's defaults, and a CRD without a schema",
    users=(USER,),
    tools=(),
    kinds=(
        Kind(JOB, f"/apis/{GROUP}/{VERSION}", PLURAL),
        Kind("Job", "/apis/batch/v1", "jobs", LABEL),
        Kind(POD, "/api/v1", "pods", LABEL),
    ),
    manifests=lambda: (_CRD,),
    processes=_processes,
    job=_job,
    ends=False,
)
