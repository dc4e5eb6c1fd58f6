"""The operator with exactly the permissions that it is given by the chart's rules, and no more."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from localcluster.controlplane import ControlPlane
from tests.operator.world import JsonObject, Namespace, OperatorProcess, eventually

pytestmark = pytest.mark.controlplane

RULES: list[JsonObject] = [
    {
        "apiGroups": ["embedtune.dev"],
        "resources": ["finetunejobs"],
        "verbs": ["get", "list", "watch", "patch", "delete"],
    },
    {"apiGroups": ["embedtune.dev"], "resources": ["finetunejobs/status"], "verbs": ["patch"]},
    {
        "apiGroups": ["batch"],
        "resources": ["jobs"],
        "verbs": ["get", "list", "watch", "create", "patch"],
    },
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def grant(ns: Namespace, *, cluster_wide: bool) -> str:
    """A service account with the rules; its token."""
    ns.api.call("POST", ns.path("serviceaccounts"), {"metadata": {"name": "operator"}})
    where = "" if cluster_wide else f"/namespaces/{ns.name}"
    prefix = "Cluster" if cluster_wide else ""
    name = f"operator-{ns.name}"
    role = {"metadata": {"name": name}, "rules": RULES}
    binding = {
        "metadata": {"name": name},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": f"{prefix}Role",
            "name": name,
        },
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": ns.name}],
    }
    ns.api.call("POST", f"{RBAC}{where}/{prefix.lower()}roles", role)
    ns.api.call("POST", f"{RBAC}{where}/{prefix.lower()}rolebindings", binding)
    path = ns.path("serviceaccounts", "operator/token")
    token: str = json.loads(ns.api.call("POST", path, {"spec": {}}))["status"]["token"]
    return token


def kubeconfig(plane: ControlPlane, token: str, file: Path) -> Path:
    """The administrator's kubeconfig with the token in place of the certificate."""
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture(params=["cluster-wide", "namespaced"])
def restricted(
    request: pytest.FixtureRequest,
    plane: ControlPlane,
    shared_operator: OperatorProcess,
    ns: Namespace,
    tmp_path: Path,
) -> Iterator[Path]:
    """An operator with these permissions, alone; gives its log."""
    shared_operator.kill()
    cluster_wide = request.param == "cluster-wide"
    config = kubeconfig(plane, grant(ns, cluster_wide=cluster_wide), tmp_path / "kubeconfig")
    process = OperatorProcess(
        plane,
        tmp_path / "log",
        KUBECONFIG=str(config),
        EMBEDTUNE_NAMESPACES="" if cluster_wide else ns.name,
    )
    process.start()
    yield tmp_path / "log"
    process.kill()


def test_a_life_with_a_failure_and_a_deletion(restricted: Path, ns: Namespace) -> None:
    ns.submit(runPolicy={"ttlSecondsAfterFinished": 3600})
    ns.end(ns.start_training(), 65, "row 7")
    assert ns.wait_reason("BadData", timeout_s=20)["state"] == "Failed"
    ns.submit("other")
    ns.end(ns.start_training(), 0, ns.result("other"))
    ns.wait_reason("Succeeded", "other")
    ns.delete("finetunejobs", "other")
    swept = {"ttlSecondsAfterFinished": 0, "ttlPolicy": "job"}
    ns.submit("swept", output={"uri": "s3://models/tuned", "retain": False}, runPolicy=swept)
    ns.end(ns.start_training(), 0, ns.result("swept"))
    remover = ns.start_training()
    ns.end(remover, 0)
    eventually(lambda: ns.find("finetunejobs", "swept") is None, what="its TTL")
    assert "forbidden" not in restricted.read_text().lower()
    assert {"Created", "BadData", "Succeeded", "ModelRemoved"} <= set(ns.events())
