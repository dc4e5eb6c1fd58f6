"""The control plane with its controllers, and one operator that most tests share."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.controlplane import ControlPlane, Options
from tests.conftest import install_crds, kubectl_with
from tests.operator.world import NODE, Namespace, OperatorProcess

_numbers = itertools.count(1)


AUDIT = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata, userGroups: [system:serviceaccounts]}, {level: None}]
"""


@pytest.fixture(scope="session")
def audit_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What service accounts asked of the API server, one JSON object a line."""
    return tmp_path_factory.mktemp("audit") / "log"


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory, audit_log: Path) -> Iterator[ControlPlane]:
    """etcd, API server and controller-manager, the CRDs, and a node that is only an object."""
    policy = audit_log.with_name("policy.yaml")
    policy.write_text(AUDIT)
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={audit_log}")
    options = Options(controller_manager=True, apiserver_flags=flags)
    with ControlPlane(tmp_path_factory.mktemp("operator-plane"), options=options) as plane:
        install_crds(kubectl_with(plane.kubeconfig))
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
def ns(plane: ControlPlane) -> Iterator[Namespace]:
    """A new namespace; its jobs go after the test, so that none of their calls is in the next."""
    ns = Namespace(plane.client(), f"team-{next(_numbers)}").create()
    yield ns
    ns.clear()
