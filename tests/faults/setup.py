"""The control plane that faults are tried on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster.controlplane import ControlPlane, Options
from tests.conftest import install_crds, kubectl_with
from tests.operator.world import NODE

UNLIMITED = ("--kube-api-qps=500", "--kube-api-burst=1000")
"""Dozens of jobs at once shall wait for nobody's rate limit."""


@contextmanager
def faults_plane(folder: Path) -> Iterator[ControlPlane]:
    """etcd, API server and controller-manager, the CRD, and a node that is only an object."""
    options = Options(controller_manager=True, controller_manager_flags=UNLIMITED)
    with ControlPlane(folder, options=options) as plane:
        install_crds(kubectl_with(plane.kubeconfig))
        plane.client().call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        yield plane
