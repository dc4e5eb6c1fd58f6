"""Kubeflow's systems under test: training-operator v1.8.1; Trainer v2.0.0 with JobSet v0.8.2.

Each at its defaults and at its best settings, which are all that its flags and its file allow:

- training-operator: --controller-threads is 1 by default. Its limit of 20 calls a second, with
  bursts of 30, is controller-runtime's, and nothing sets another.
- Trainer: it has neither a flag nor a file for workers or for the rate of calls, which is the same
  20. Only JobSet's rate, 500 by default, can be raised.

Neither validating webhooks nor their certificates are used, which spares them work. JobSet's
mutating webhook is: without it a JobSet lacks what its controller counts on.
"""

import base64
from collections.abc import Callable
from pathlib import Path

import yaml

from localcluster.controlplane import ControlPlane
from localcluster.pki import Certificate
from localcluster.ports import free_port
from localcluster.toolchain import module_dir
from localcluster.tools import tool
from scale_parts.sightings import JOB, POD
from scale_parts.systems import (
    IMAGE,
    NAMESPACE,
    RESOURCES,
    JsonObject,
    Kind,
    Process,
    System,
)

CERTIFICATES = Path("/tmp/k8s-webhook-server/serving-certs")
"""Where both look for their webhooks' certificate; the path is fixed in their code."""
WEBHOOK = Certificate("jobset-webhook", "jobset-webhook", alt_names=("IP:127.0.0.1",))
QUIET = "--zap-log-level=error"
THREADS = 32
MOST = 2500
"""Resident jobs; at defaults they are not brought to any, which would take them an hour."""


def _secret(namespace: str, name: str) -> tuple[JsonObject, JsonObject]:
    """An empty Secret, which the certificates' rotator fills, in its namespace."""
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
        },
    )


def _certificates(plane: ControlPlane) -> None:
    """In a pod the kubelet would mount them; that there is one is all that is looked at."""
    CERTIFICATES.mkdir(parents=True, exist_ok=True)
    (CERTIFICATES / "tls.crt").write_bytes(plane.pki.certificate(WEBHOOK.name).read_bytes())
    (CERTIFICATES / "tls.key").write_bytes(plane.pki.key(WEBHOOK.name).read_bytes())


def _manager(plane: ControlPlane, name: str, binary: str, *flags: str) -> Process:
    _certificates(plane)
    health = free_port("127.0.0.1")
    ports = (
        f"--health-probe-bind-address=127.0.0.1:{health}",
        f"--webhook-server-port={free_port('127.0.0.1')}",
        "--metrics-bind-address=0",
    )
    argv = (str(tool(binary)), *ports, *flags)
    return Process(name, argv, f"http://127.0.0.1:{health}/readyz")


# training-operator


def _training_manifests() -> tuple[Path | JsonObject, ...]:
    crds = (
        module_dir("kubeflow-training", "github.com/kubeflow/training-operator")
        / "manifests/base/crds"
    )
    return (
        *sorted(crds.glob("kubeflow.org_*.yaml")),
        *_secret("kubeflow", "training-operator-webhook-cert"),
    )


def _training_processes(*flags: str) -> Callable[[ControlPlane, Path], tuple[Process, ...]]:
    def processes(plane: ControlPlane, _folder: Path) -> tuple[Process, ...]:
        return (_manager(plane, "training-operator", "training-operator", *flags),)

    return processes


def _pytorch_job(name: str) -> JsonObject:
    container = {"name": "pytorch", "image": IMAGE, "resources": RESOURCES}
    master = {
        "replicas": 1,
        "restartPolicy": "OnFailure",
        "template": {"spec": {"containers": [container]}},
    }
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"pytorchReplicaSpecs": {"Master": master}},
    }


def _training(name: str, about: str, *flags: str, most: int = 0) -> System:
    return System(
        name=name,
        about=about,
        users=("training-operator",),
        tools=("training-operator",),
        kinds=(
            Kind(JOB, "/apis/kubeflow.org/v1", "pytorchjobs"),
            Kind(POD, "/api/v1", "pods", "training.kubeflow.org/job-name"),
        ),
        manifests=_training_manifests,
        processes=_training_processes(*flags),
        job=_pytorch_job,
        most=most,
    )


# Trainer, with JobSet


def _trainer_manifests() -> tuple[Path | JsonObject, ...]:
    base = module_dir("kubeflow-trainer", "github.com/kubeflow/trainer/v2") / "manifests/base"
    jobset = module_dir("kubeflow-jobset", "sigs.k8s.io/jobset") / "config/components/crd/bases"
    return (
        *sorted(jobset.glob("*.yaml")),
        *sorted((base / "crds").glob("trainer.kubeflow.org_*.yaml")),
        *_secret("kubeflow-system", "kubeflow-trainer-webhook-cert"),
        base / "runtimes/torch_distributed.yaml",
    )


def _trainer_processes(
    qps: int | None, *flags: str
) -> Callable[[ControlPlane, Path], tuple[Process, ...]]:
    def processes(plane: ControlPlane, folder: Path) -> tuple[Process, ...]:
        return (
            _jobset(plane, folder, qps, *flags),
            _manager(plane, "kubeflow-trainer", "trainer-controller-manager", *flags),
        )

    return processes


def _jobset(plane: ControlPlane, folder: Path, qps: int | None, *flags: str) -> Process:
    """JobSet's controller, and the configuration of its mutating webhook in the API server."""
    certificates = folder / "jobset-certificates"
    certificates.mkdir(exist_ok=True)
    authority = plane.pki.certificate("ca").read_bytes()
    (certificates / "tls.crt").write_bytes(plane.pki.certificate(WEBHOOK.name).read_bytes())
    (certificates / "tls.key").write_bytes(plane.pki.key(WEBHOOK.name).read_bytes())
    port, health = free_port("127.0.0.1"), free_port("127.0.0.1")
    config: JsonObject = {
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"port": port, "certDir": str(certificates)},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
    }
    if qps is not None:
        config["clientConnection"] = {"qps": qps, "burst": qps}
    file = folder / "jobset.yaml"
    file.write_text(yaml.safe_dump(config))
    plane.client().call(
        "POST",
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
        _mutating_webhook(port, authority),
    )
    return Process(
        "jobset",
        (str(tool("jobset")), f"--config={file}", *flags),
        f"http://127.0.0.1:{health}/readyz",
    )


def _mutating_webhook(port: int, authority: bytes) -> JsonObject:
    rule = {
        "apiGroups": ["jobset.x-k8s.io"],
        "apiVersions": ["v1alpha2"],
        "operations": ["CREATE"],
        "resources": ["jobsets"],
    }
    return {
        "metadata": {"name": "jobset-mutating-webhook-configuration"},
        "webhooks": [
            {
                "name": "mjobset.kb.io",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "rules": [rule],
                "clientConfig": {
                    "url": f"https://127.0.0.1:{port}/mutate-jobset-x-k8s-io-v1alpha2-jobset",
                    "caBundle": base64.b64encode(authority).decode(),
                },
            }
        ],
    }


def _train_job(name: str) -> JsonObject:
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "runtimeRef": {"name": "torch-distributed"},
            "trainer": {"image": IMAGE, "resourcesPerNode": RESOURCES},
        },
    }


def _trainer(name: str, about: str, qps: int | None, *flags: str, most: int = 0) -> System:
    label = "jobset.sigs.k8s.io/jobset-name"
    return System(
        name=name,
        about=about,
        users=("kubeflow-trainer", "jobset"),
        tools=("trainer-controller-manager", "jobset"),
        kinds=(
            Kind(JOB, "/apis/trainer.kubeflow.org/v1alpha1", "trainjobs"),
            Kind("JobSet", "/apis/jobset.x-k8s.io/v1alpha2", "jobsets"),
            Kind("Job", "/apis/batch/v1", "jobs", label),
            Kind(POD, "/api/v1", "pods", label),
        ),
        manifests=_trainer_manifests,
        processes=_trainer_processes(qps, *flags),
        job=_train_job,
        most=most,
    )


KUBEFLOW = (
    _training("training-operator", "v1.8.1 at its defaults"),
    _training(
        "training-operator-best",
        f"v1.8.1 with {THREADS} controller threads, PyTorchJobs alone, and errors alone logged",
        f"--controller-threads={THREADS}",
        "--enable-scheme=pytorchjob",
        QUIET,
        most=MOST,
    ),
    _trainer("trainer", "v2.0.0 and JobSet v0.8.2 at their defaults", None),
    _trainer(
        "trainer-best",
        "v2.0.0 and JobSet v0.8.2, JobSet allowed 5,000 calls a second, errors alone logged",
        5000,
        QUIET,
        most=MOST,
    ),
)
