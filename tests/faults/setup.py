"""The control plane that faults are tried on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster.controlplane import ControlPlane, Options
from tests.conftest import install_crd, kubectl_with
from tests.operator.world import NODE


@contextmanager
def faults_plane(folder: Path) -> Iterator[ControlPlane]:
    """etcd, API server and controller-manager, the CRD, and a node that is only an object."""
    with ControlPlane(folder, options=Options(controller_manager=True)) as plane:
        install_crd(kubectl_with(plane.kubeconfig))
        plane.client().call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        yield plane
