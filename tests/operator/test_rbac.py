"""The operator with the permissions of the chart: enough for all it does, and nothing more."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from localcluster.controlplane import ControlPlane
from localcluster.tools import tool
from tests.conftest import kubectl_with
from tests.operator.world import JsonObject, Namespace, OperatorProcess, eventually

pytestmark = pytest.mark.controlplane

CHART = Path(__file__).resolve().parents[2] / "helm/embedtune"
Permission = tuple[str, str, str]
"""API group, resource with its subresource, verb."""
SELDOM: set[Permission] = {("embedtune.dev", "finetunejobs", "get")}
"""After a conflict, which cannot be brought about at will."""


def permissions(ns: Namespace, *, cluster_wide: bool) -> list[JsonObject]:
    """The chart's service account and roles, with this namespace as the release's."""
    values = {
        "operator": {"namespaces": [] if cluster_wide else [ns.name]},
        "userRoles": {"enabled": False},
        "crds": {"enabled": False},
    }
    release = f"embedtune-{ns.name}"
    command = [
        *(str(tool("helm")), "template", release, str(CHART), "--namespace", ns.name),
        *("--kube-version", "1.34.4", "--values", "-"),
    ]
    done = subprocess.run(
        command, input=json.dumps(values), check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    return [m for m in manifests if m["kind"] == "ServiceAccount" or "Role" in m["kind"]]


def granted(manifests: list[JsonObject]) -> set[Permission]:
    """What the roles allow."""
    rules = [rule for manifest in manifests for rule in manifest.get("rules", ())]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(audit_log: Path, user: str) -> set[Permission]:
    """What a user was allowed by the API server, as its audit log says."""
    found: set[Permission] = set()
    whole, _, _being_written = audit_log.read_text().rpartition("\n")
    for line in whole.splitlines():
        entry = json.loads(line)
        if entry["user"]["username"] != user or "objectRef" not in entry:
            continue
        code = entry["responseStatus"]["code"]
        assert code != 403, f"refused: {entry['verb']} {entry['requestURI']}"
        reference = entry["objectRef"]
        parts = (reference["resource"], reference.get("subresource"))
        resource = "/".join(part for part in parts if part)
        verbs = {entry["verb"]} | ({"create"} if code == 201 else set())
        found |= {(reference.get("apiGroup", ""), resource, verb) for verb in verbs}
    return found


@dataclass
class Installed:
    """An operator with the chart's permissions."""

    user: str
    granted: set[Permission]


def kubeconfig(plane: ControlPlane, token: str, file: Path) -> Path:
    """The administrator's kubeconfig with the token in place of the certificate."""
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture(params=["cluster-wide", "namespaced"])
def installed(
    request: pytest.FixtureRequest,
    plane: ControlPlane,
    shared_operator: OperatorProcess,
    ns: Namespace,
    tmp_path: Path,
) -> Iterator[Installed]:
    """An operator with these permissions, alone."""
    shared_operator.kill()
    cluster_wide = request.param == "cluster-wide"
    manifests = permissions(ns, cluster_wide=cluster_wide)
    kubectl_with(plane.kubeconfig)("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))
    name = next(m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount")
    path = ns.path("serviceaccounts", f"{name}/token")
    token: str = json.loads(ns.api.call("POST", path, {"spec": {}}))["status"]["token"]
    process = OperatorProcess(
        plane,
        tmp_path / "log",
        KUBECONFIG=str(kubeconfig(plane, token, tmp_path / "kubeconfig")),
        EMBEDTUNE_NAMESPACES="" if cluster_wide else ns.name,
        EMBEDTUNE_LEASE=f"{ns.name}/{name}",
    )
    process.start()
    yield Installed(f"system:serviceaccount:{ns.name}:{name}", granted(manifests))
    process.kill()


def test_it_may_do_what_it_does_and_nothing_else(
    installed: Installed, ns: Namespace, audit_log: Path
) -> None:
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
    assert {"Created", "BadData", "Succeeded", "ModelRemoved"} <= set(ns.events())
    assert used(audit_log, installed.user) | SELDOM == installed.granted
