"""The chart as Helm renders it: golden manifests, refused values, least privilege, safe pods."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.tools import tool

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/embedtune"
GOLDEN = ROOT / "tests/golden/chart"
CRDS = [
    f"embedtune.dev_{plural}.yaml"
    for plural in ("clusterfinetuneruntimes", "finetunejobs", "finetuneruntimes")
]
RUNTIMES = ["ClusterFineTuneRuntime/shared-gpu", "FineTuneRuntime/team"]

LIMIT: dict[str, Any] = {
    "name": "teams",
    "actions": ["Deny"],
    "namespaceSelector": {"matchLabels": {"kind": "team"}},
    "read": ["s3://bases/", "s3://datasets/{namespace}/", "hf://"],
    "write": ["s3://models/{namespace}/"],
    "endpoints": ["https://s3.example.com", "http://minio.minio.svc:9000"],
    "gpus": 2,
    "cpu": 16,
    "memory": "128Gi",
    "activeDeadlineSeconds": 31_536_000,
}
EVERYTHING: dict[str, Any] = {
    "crds": {"enabled": False},
    "operator": {
        "image": {"repository": "registry.example.com:5000/ml/operator", "tag": "1.2"},
        "pullSecrets": ["registry"],
        "scrapeIntervalSeconds": 2.5,
        "logFormat": "text",
        "serviceAccount": {"name": "tuner", "annotations": {"team": "platform"}},
        "podLabels": {"team": "platform"},
        "podAnnotations": {"note": "here"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
    },
    "trainer": {
        "image": {"repository": "ml/trainer", "digest": f"sha256:{'a' * 64}"},
        "pullSecrets": ["registry", "other"],
    },
    "storage": {"endpoint": "http://minio.minio.svc:9000", "region": "eu-west-1"},
    "defaults": {"cpu": 2, "memory": "8Gi", "gpus": 1, "scratchSize": "50Gi"},
    "admission": {
        "limits": [
            LIMIT,
            {"name": "all", "actions": ["Warn", "Audit"], "gpus": 8},
            {"name": "blueprints", "actions": ["Deny"], "runtimes": RUNTIMES},
        ],
        "quotas": {"search": {"count/finetunejobs.embedtune.dev": 50}},
    },
    "podMonitor": {"enabled": True, "trainers": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True, "annotations": {"grafana_folder": "ml"}},
    "networkPolicy": {
        "enabled": True,
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "apiServerCIDRs": ["10.0.0.1/32"],
        "apiServerPorts": [6443],
        "trainers": {
            "namespaces": ["search", "ads"],
            "egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"port": 9000}]}],
        },
    },
}
CASES: dict[str, dict[str, Any]] = {
    "default": {"crds": {"enabled": False}},
    "namespaces": {"crds": {"enabled": False}, "operator": {"namespaces": ["search", "ads"]}},
    "everything": EVERYTHING,
}


def helm(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(tool("helm")), *arguments]
    return subprocess.run(command, input=stdin, check=False, capture_output=True, text=True)


def template(values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    arguments = ("template", "embedtune", str(CHART), "--namespace", "embedtune-system")
    return helm(*arguments, "--kube-version", "1.34.4", "--values", "-", stdin=json.dumps(values))


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    done = template(values)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def test_lint() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    found = render(CASES[case])
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(yaml.safe_dump_all(found, sort_keys=False, width=100))
    assert list(yaml.safe_load_all(file.read_text())) == found, f"differs from {file}"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"operater": {}}, "operater"),
        ({"operator": {"namespace": ["search"]}}, "namespace"),
        ({"operator": {"namespaces": "search"}}, "namespaces"),
        ({"operator": {"replicas": 0}}, "replicas"),
        ({"operator": {"image": {"pullPolicy": "Sometimes"}}}, "pullPolicy"),
        ({"trainer": {"image": {"digest": "sha256:short"}}}, "digest"),
        ({"trainer": {"image": {"repository": "trainer:1.0"}}}, "repository"),
        ({"storage": {"endpoint": "minio:9000"}}, "endpoint"),
        ({"storage": {"accessKey": "secret"}}, "accessKey"),
        ({"admission": {"limits": [{"name": "a", "actions": ["Deny"]}]}}, "anyOf"),
        ({"admission": {"limits": [LIMIT | {"read": ["s3://models"]}]}}, "read"),
        ({"admission": {"limits": [LIMIT | {"read": ["s3://'/"]}]}}, "read"),
        ({"admission": {"limits": [LIMIT | {"read": []}]}}, "read"),
        ({"admission": {"limits": [LIMIT | {"runtimes": ["shared-gpu"]}]}}, "runtimes"),
        ({"admission": {"limits": [LIMIT | {"actions": ["Refuse"]}]}}, "actions"),
        ({"admission": {"quotas": {"search": {}}}}, "search"),
        ({"defaults": {"gpus": "one"}}, "gpus"),
        ({"defaults": {"memory": 4294967296}}, "memory"),
        ({"defaults": {"memory": "4 GB"}}, "memory"),
        ({"networkPolicy": {"apiServerPorts": [0]}}, "apiServerPorts"),
    ],
)
def test_schema_refuses(values: dict[str, Any], named: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert named in done.stderr


def test_every_value_is_described_and_in_the_schema() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(yaml.safe_load("\n".join(lines))) == set(schema) - {"global"}
    top = [i for i, line in enumerate(lines) if line.startswith("  ") and line[2] not in " #"]
    undescribed = [
        lines[i].strip()
        for i in top
        if not lines[i - 1].lstrip().startswith("#") and not lines[i].rstrip().endswith(":")
    ]
    # These two groups have one comment before their first line.
    assert undescribed == [
        *("podAnnotations: {}", "nodeSelector: {}", "tolerations: []", "affinity: {}"),
        "apiServerPorts: [443, 6443]",
    ]


@pytest.mark.parametrize("case", CASES)
def test_least_privilege(case: str) -> None:
    manifests = render(CASES[case])
    roles = [m for m in manifests if m["kind"] in ("Role", "ClusterRole")]
    assert roles
    for role in roles:
        for rule in role["rules"]:
            assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not [word for word in words if "*" in word]
            assert "secrets" not in rule["resources"]
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
    assert "Secret" not in {m["kind"] for m in manifests}


def test_namespaces_need_no_cluster_role() -> None:
    manifests = render({**CASES["namespaces"], "userRoles": {"enabled": False}})
    # so that who installs it needs no more than these namespaces, once the CRD is there
    assert not [m for m in manifests if "namespace" not in m["metadata"]]
    bound = {m["metadata"]["namespace"] for m in manifests if m["kind"] == "RoleBinding"}
    assert bound == {"search", "ads", "embedtune-system"}
    everywhere = one(render({"userRoles": {"enabled": False}}), "ClusterRole")
    role = next(m for m in manifests if m["kind"] == "Role")
    for rule in everywhere["rules"]:  # what is of the cluster can be read with a ClusterRole alone
        rule["resources"] = [r for r in rule["resources"] if r != "clusterfinetuneruntimes"]
    assert role["rules"] == everywhere["rules"]


def definitions(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [m for m in render(values) if m["kind"] == "CustomResourceDefinition"]


def test_crds_are_the_generated_ones() -> None:
    assert sorted(file.name for file in (ROOT / "crds").glob("*.yaml")) == CRDS
    assert sorted(file.name for file in (CHART / "files/crds").iterdir()) == CRDS
    for file, rendered in zip(CRDS, definitions({}), strict=True):
        source = (ROOT / "crds" / file).read_text()
        assert (CHART / "files/crds" / file).read_text() == source
        assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert rendered["metadata"].pop("labels")
        assert rendered == yaml.safe_load(source)
    for unkept in definitions({"crds": {"keep": False}}):
        assert "annotations" not in unkept["metadata"]


@pytest.mark.parametrize("case", CASES)
def test_pod_is_restricted(case: str) -> None:
    pod = one(render(CASES[case]), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(pod)
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_a_single_replica_is_not_protected_from_drains() -> None:
    kinds = [m["kind"] for m in render({"operator": {"replicas": 1}})]
    assert "PodDisruptionBudget" not in kinds
    budget = one(render({}), "PodDisruptionBudget")["spec"]
    deployment = one(render({}), "Deployment")["spec"]
    assert budget["selector"] == deployment["selector"]
    assert deployment["replicas"] - budget["maxUnavailable"] == 1


def test_images_by_digest_or_tag() -> None:
    container = one(render(EVERYTHING), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example.com:5000/ml/operator:1.2"
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert env["EMBEDTUNE_TRAINER_IMAGE"] == f"ml/trainer@sha256:{'a' * 64}"
