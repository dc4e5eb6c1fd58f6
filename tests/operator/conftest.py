"""The control plane with its controllers, and one operator that most tests share."""

import itertools
from collections.abc import Iterator

import pytest

from localcluster.controlplane import ControlPlane, Options
from tests.conftest import install_crd, kubectl_with
from tests.operator.world import NODE, Namespace, OperatorProcess

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, API server and controller-manager, the CRD, and a node that is only an object."""
    options = Options(controller_manager=True)
    with ControlPlane(tmp_path_factory.mktemp("operator-plane"), options=options) as plane:
        install_crd(kubectl_with(plane.kubeconfig))
        plane.client().call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        yield plane


@pytest.fixture(scope="session")
def shared_operator(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    process = OperatorProcess(plane, tmp_path_factory.mktemp("operator") / "operator.log")
    yield process
    process.kill()


@pytest.fixture
def operator(shared_operator: OperatorProcess) -> OperatorProcess:
    """The operator, running, whatever the test before did to it."""
    shared_operator.start()
    return shared_operator


@pytest.fixture
def ns(plane: ControlPlane) -> Namespace:
    """A new namespace."""
    return Namespace(plane.client(), f"team-{next(_numbers)}").create()
