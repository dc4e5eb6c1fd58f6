"""A control plane of their own, which the tests here may stop, and how much of all is done."""

import os
from collections.abc import Iterator

import pytest

from localcluster.controlplane import ControlPlane
from tests.faults.setup import faults_plane

WHOLE = os.environ.get("FAULTS") == "all"


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, API server and controller-manager, the CRD, and a node that is only an object."""
    with faults_plane(tmp_path_factory.mktemp("faults-plane")) as plane:
        yield plane
