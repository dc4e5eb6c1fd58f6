"""FineTuneRuntime and ClusterFineTuneRuntime: what pydantic and a real API server let in."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from embedtune_api.base import InvalidJob
from embedtune_api.job import FineTuneJob
from embedtune_api.runtime import CLUSTER_RUNTIME, RUNTIME, RuntimeSpec
from tests.api.cases import REMOVE, Case
from tests.api.test_apiserver import DRY_RUN
from tests.conftest import Kubectl

FULL: dict[str, Any] = {
    "default": True,
    "image": "registry.example.com/trainer:0.1.0",
    "imagePullPolicy": "Always",
    "pullSecrets": ["registry"],
    "storage": {
        "endpoint": "http://minio.minio.svc:9000",
        "region": "eu-1",
        "secretRef": {"name": "s3-credentials"},
    },
    "output": {"uri": "s3://models/{namespace}/tuned"},
    "resourceClasses": {
        "small": {"cpu": 2, "memory": "8Gi"},
        "large": {
            "cpu": "8",
            "memory": "64Gi",
            "gpus": 1,
            "gpuResource": "nvidia.com/mig-3g.40gb",
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
    },
    "defaultResourceClass": "small",
    "nodeSelector": {"pool": "ml"},
    "tolerations": [{"key": "ml", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "batch",
    "queueName": "ml",
    "volumes": [{"name": "hub", "claimName": "hub-cache", "mountPath": "/cache/hub"}],
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "podTemplatePatch": {
        "metadata": {"labels": {"cost": "ml"}, "annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "containers": [
                {
                    "name": "trainer",
                    "resources": {"limits": {"rdma/hca": 1}},
                    "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                }
            ],
            "volumes": [{"name": "extra", "emptyDir": {}}],
            "securityContext": {"supplementalGroups": [1000]},
            "schedulerName": "volcano",
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}],
        },
    },
    "allowPrivateAddresses": True,
}
MINIMAL: dict[str, Any] = {
    "apiVersion": "embedtune.dev/v1alpha1",
    "kind": RUNTIME,
    "metadata": {"name": "case", "namespace": "default"},
    "spec": FULL,
}


@dataclass(frozen=True)
class Runtime(Case):
    """One change to a runtime that says everything."""

    base: ClassVar[dict[str, Any]] = MINIMAL

    def on(self, kind: str) -> str:
        return json.dumps(self.job() | {"kind": kind})


EXAMPLE = Path(__file__).resolve().parents[2] / "examples/runtimes"
PATCH, POD = "spec.podTemplatePatch", "spec.podTemplatePatch.spec"
HOST_PATH = [{"name": "x", "hostPath": {"path": "/"}}]
TOKEN = [{"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]
ROOT = {"runAsUser": 0, "runAsNonRoot": False}
TRAINER = {"name": "trainer"}
OTHER = {"name": "sidecar", "image": "x"}
CACHE = {"name": "hub", "claimName": "hub"}
AT_HUB, AT_OTHER = CACHE | {"mountPath": "/hub"}, CACHE | {"mountPath": "/other"}
FOR_A_WHILE = {"key": "ml", "effect": "NoExecute", "tolerationSeconds": 60}
LABELS = {"pool": "ml", "node.kubernetes.io/instance-type": "a.b_c-1", "x/Y_z.1": ""}

ACCEPTED = [
    Runtime("spec", {}),
    Runtime("spec", FULL),
    Runtime("spec.storage", {}),
    Runtime("spec.volumes", [CACHE | {"mountPath": "/work/.cache/hub", "readOnly": False}]),
    Runtime("spec.volumes", [AT_HUB, AT_OTHER | {"name": "other"}]),
    Runtime("spec.nodeSelector", LABELS),
    Runtime("spec.tolerations", [{"key": "a.b/c", "value": "d"}, {"operator": "Exists"}]),
    Runtime("spec.tolerations", [FOR_A_WHILE, {"key": "a", "operator": "Exists", "value": ""}]),
    Runtime(f"{POD}.volumes", [{"name": "work", "ephemeral": {"volumeClaimTemplate": {}}}]),
]
FORBIDDEN = [
    *(Runtime(f"{POD}.{field}", True, field) for field in ("hostNetwork", "hostPID", "hostIPC")),
    *(Runtime(f"{POD}.{field}", "x", field) for field in ("serviceAccountName", "nodeName")),
    Runtime(f"{POD}.automountServiceAccountToken", True, "automountServiceAccountToken"),
    Runtime(f"{POD}.restartPolicy", "OnFailure", "restartPolicy"),
    Runtime(f"{POD}.hostUsers", True, "hostUsers"),
    Runtime(f"{POD}.shareProcessNamespace", True, "shareProcessNamespace"),
    Runtime(f"{POD}.activeDeadlineSeconds", 9, "activeDeadlineSeconds"),
    Runtime(f"{POD}.initContainers", [OTHER], "initContainers"),
    Runtime(f"{POD}.securityContext", ROOT, "runAsNonRoot"),
    Runtime(f"{POD}.securityContext", {"sysctls": []}, "sysctls"),
    Runtime(f"{POD}.securityContext", {"fsGroup": 0}, "fsGroup"),
    Runtime(f"{POD}.securityContext", {"supplementalGroups": [0]}, "supplementalGroups"),
    Runtime(f"{POD}.dnsPolicy", "ClusterFirstWithHostNet", "dnsPolicy"),
    Runtime(f"{POD}.terminationGracePeriodSeconds", 1, "terminationGracePeriodSeconds"),
    Runtime(f"{POD}.volumes", HOST_PATH, "hostPath"),
    Runtime(f"{POD}.volumes", TOKEN, "projected"),
    Runtime(f"{POD}.volumes", [{"name": "x"}], "exactly one of"),
    Runtime(f"{POD}.volumes", [{"name": "x", "emptyDir": {}, "csi": {}}], "exactly one of"),
    *(
        Runtime(f"{POD}.volumes", [{"name": name, "emptyDir": {}}], "the operator's own")
        for name in ("job", "claim-0", "runtime-hub")
    ),
    Runtime(f"{POD}.containers", [{"name": "sidecar"}], "name"),
    Runtime(f"{POD}.containers", [OTHER], "image"),
    Runtime(f"{POD}.containers", [TRAINER, TRAINER], "containers"),
    *(
        Runtime(f"{POD}.containers", [TRAINER | {field: value}], field)
        for field, value in {
            "image": "x",
            "command": ["sh"],
            "args": ["x"],
            "securityContext": {"privileged": True},
            "lifecycle": {},
            "livenessProbe": {},
            "envFrom": [],
            "terminationMessagePath": "/x",
        }.items()
    ),
    *(
        Runtime(f"{POD}.containers", [TRAINER | {"resources": {part: {name: 1}}}], "cpu and memory")
        for part in ("requests", "limits")
        for name in ("cpu", "memory")
    ),
    *(
        Runtime(
            f"{POD}.containers",
            [TRAINER | {"volumeMounts": [{"name": "x", "mountPath": path}]}],
            "mountPath must not cover",
        )
        for path in ("/work", "/etc/embedtune", "/dev/shm", "/var/run/secrets/x")
    ),
    *(
        Runtime(f"{PATCH}.metadata", {"labels": {label: "x"}}, "the operator's own")
        for label in ("embedtune.dev/job-uid", "app.kubernetes.io/managed-by")
    ),
    Runtime(f"{PATCH}.metadata", {"finalizers": ["x/y"]}, "finalizers"),
]
REFUSED = [
    *FORBIDDEN,
    Runtime("spec", REMOVE, "spec"),
    Runtime("spec.imagee", "x", "imagee"),
    Runtime("spec.image", "a b", "image"),
    Runtime("spec.default", "yes", "default"),
    Runtime("spec.storage.secretRef", {"name": "s3", "namespace": "other"}, "namespace"),
    Runtime("spec.storage.endpoint", "minio:9000", "endpoint"),
    Runtime("spec.output", {}, "uri"),
    Runtime("spec.output.uri", "s3://models/../other", "/../"),
    Runtime("spec.output.uri", "s3://{namespace}/x", "uri"),
    Runtime("spec.defaultResourceClass", "huge", "must be one of resourceClasses"),
    Runtime("spec.resourceClasses", REMOVE, "must be one of resourceClasses"),
    Runtime("spec.resourceClasses.small.gpus", -1, "gpus"),
    Runtime("spec.resourceClasses.small.cpu", "0", "cpu"),
    Runtime("spec.resourceClasses.small.gpuResource", "gpu", "gpuResource"),
    Runtime("spec.tolerations", [{"effect": "Never"}], "effect"),
    Runtime("spec.tolerations", [{"effect": "NoSchedule"}], "give key, or operator Exists"),
    Runtime("spec.tolerations", [{"operator": "Equal"}], "give key, or operator Exists"),
    Runtime("spec.tolerations", [{"key": "a", "operator": "Exists", "value": "b"}], "not both"),
    Runtime("spec.tolerations", [FOR_A_WHILE | {"effect": "NoSchedule"}], "for effect NoExecute"),
    *(Runtime("spec.tolerations", [{"key": key}], "key") for key in ("a b", "-a", "A.b/c", "")),
    Runtime("spec.tolerations", [{"key": "a", "value": "b/c"}], "value"),
    *(
        Runtime("spec.nodeSelector", {key: "ml"}, "a label's key")
        for key in ("a b", "-a", "A.b/c", "a/b/c", "", "a" * 64)
    ),
    Runtime("spec.nodeSelector", {"pool": "a b"}, "nodeSelector.pool"),
    Runtime("spec.resourceClasses.small.nodeSelector", {"a b": "ml"}, "a label's key"),
    *(
        Runtime("spec.volumes", [CACHE | {"mountPath": path}], "mountPath")
        for path in ("/work", "/pvc/x", "/a/../etc", "relative", "/", "/proc/1")
    ),
    Runtime("spec.volumes", [CACHE | {"mountPath": "/c", "hostPath": "/"}], "hostPath"),
    Runtime("spec.volumes", [AT_HUB, AT_OTHER], "of its own"),
    Runtime("spec.volumes", [AT_HUB, AT_HUB | {"name": "other"}], "of its own"),
    *(
        Runtime("spec.env", [{"name": name, "value": "x"}], "to set")
        for name in ("AWS_ACCESS_KEY_ID", "HOME", "EMBEDTUNE_ALLOW_PRIVATE_ADDRESSES", "HF_TOKEN")
    ),
    Runtime("spec.env", [{"name": "A-B", "value": "x"}], "name"),
    Runtime("spec.env", [{"name": "A", "valueFrom": {}}], "valueFrom"),
]


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_parsed(case: Runtime) -> None:
    RuntimeSpec.parse(case.job()["spec"])


@pytest.mark.parametrize("case", [c for c in REFUSED if c.path != "spec"], ids=str)
def test_not_parsed(case: Runtime) -> None:
    with pytest.raises(InvalidJob) as raised:
        RuntimeSpec.parse(case.job()["spec"])
    assert case.says in str(raised.value)


@pytest.mark.controlplane
@pytest.mark.parametrize("kind", [RUNTIME, CLUSTER_RUNTIME])
@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepted(case: Runtime, kind: str, kubectl: Kubectl) -> None:
    stored = json.loads(kubectl(*DRY_RUN, stdin=case.on(kind)).stdout)
    assert RuntimeSpec.parse(stored["spec"]) == RuntimeSpec.parse(case.job()["spec"])


@pytest.mark.controlplane
@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(case: Runtime, kubectl: Kubectl) -> None:
    done = kubectl(*DRY_RUN, stdin=case.on(RUNTIME), check=False)
    assert done.returncode != 0
    assert case.says in done.stderr


@pytest.mark.controlplane
def test_get_and_explain(kubectl: Kubectl) -> None:
    for kind, short in ((RUNTIME, "ftr"), (CLUSTER_RUNTIME, "cftr")):
        kubectl("create", "-f", "-", stdin=Runtime("spec.default", True).on(kind))
        header, row = kubectl("get", short).stdout.splitlines()
        assert " ".join(header.split()) == "NAME DEFAULT CLASS OUTPUT AGE"
        assert row.split()[:4] == ["case", "true", "small", "s3://models/{namespace}/tuned"]
        kubectl("delete", short, "case")
    text = kubectl("explain", "finetuneruntime.spec.resourceClasses.gpuResource").stdout
    assert "What GPUs are called" in text


def test_the_example_is_a_default_and_the_smallest_job() -> None:
    runtime, job = (yaml.safe_load((EXAMPLE / f"{n}.yaml").read_text()) for n in ("runtime", "job"))
    assert RuntimeSpec.parse(runtime["spec"]).default
    assert set(FineTuneJob.parse(job).spec.model_fields_set) == {"model", "data"}


@pytest.mark.controlplane
def test_the_example_can_be_made(kubectl: Kubectl) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "search"}}
    kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    kubectl("apply", "--dry-run=server", "-f", str(EXAMPLE))
