"""Installing, upgrading and uninstalling the chart while a job runs."""

import subprocess
from pathlib import Path

import pytest

from localcluster.controlplane import ControlPlane, Options
from localcluster.tools import tool
from tests.operator.test_rbac import CHART
from tests.operator.world import NODE, JsonObject, Namespace, OperatorProcess

pytestmark = pytest.mark.controlplane

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/finetunejobs.embedtune.dev"


def helm(plane: ControlPlane, *arguments: str) -> str:
    command = [str(tool("helm")), "--kubeconfig", str(plane.kubeconfig), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def left_alone(ns: Namespace) -> list[JsonObject]:
    """What must be the same before and after: the CRD's identity, the job, its children."""
    children = [item["metadata"] for plural in ("jobs", "pods") for item in ns.all(plural)]
    crd = ns.api.get(CRD)["metadata"]["uid"]
    return [{"crd": crd, "job": ns.job()["metadata"]}, *children]


def test_a_running_job_is_not_disturbed(tmp_path: Path) -> None:
    """On a control plane of its own, to which the chart brings the CRD.

    The chart's own operator never starts, for want of a node that runs anything.
    """
    options = Options(controller_manager=True)
    with ControlPlane(tmp_path / "plane", options=options) as plane:
        plane.client().call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        operator = OperatorProcess(plane, tmp_path / "operator.log")
        try:
            install_upgrade_and_uninstall(plane, operator)
        finally:
            operator.kill()


def install_upgrade_and_uninstall(plane: ControlPlane, operator: OperatorProcess) -> None:
    ns = Namespace(plane.client(), "team").create()
    system = ("--namespace", "team-system")
    release = ("embedtune", str(CHART), *system)
    helm(plane, "install", *release, "--create-namespace")
    operator.start()
    ns.submit()
    ns.start_training()
    ns.wait_reason("Training")
    before = left_alone(ns)

    helm(plane, "upgrade", *release, "--set", "defaults.memory=8Gi,operator.replicas=1")
    helm(plane, "upgrade", *release, "--set", "operator.namespaces={default}")
    helm(plane, "rollback", "embedtune", "1", *system)
    assert left_alone(ns) == before

    helm(plane, "uninstall", "embedtune", *system)
    assert left_alone(ns) == before
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    names = [role["metadata"]["name"] for role in ns.api.get(roles)["items"]]
    assert [name for name in names if "embedtune" in name] == []

    helm(plane, "install", *release)
    helm(plane, "uninstall", "embedtune", *system)
    assert left_alone(ns) == before
