"""The API server without root: quick to come, killed and brought back in place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.apiclient import ApiError
from localcluster.controlplane import APISERVER, ETCD, ControlPlane
from localcluster.processes import identify

pytestmark = pytest.mark.controlplane

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kept"}}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.mark.parametrize("component", [ETCD, APISERVER])
def test_a_killed_process_comes_back_with_its_data(plane: ControlPlane, component: str) -> None:
    if component == ETCD:
        plane.client().call("POST", "/api/v1/namespaces", NAMESPACE)
    plane.kill_component(component)
    assert not plane.is_healthy(component)
    plane.start_component(component)
    plane.wait_ready()
    assert plane.client().get("/api/v1/namespaces/kept")["metadata"]["name"] == "kept"
    assert plane.is_healthy(ETCD)


def test_pods_are_admitted_without_a_controller(plane: ControlPlane) -> None:
    pod = {
        "metadata": {"name": "pod"},
        "spec": {"containers": [{"name": "c", "image": "localhost/none:dev"}]},
    }
    plane.client().call("POST", "/api/v1/namespaces/default/pods", pod)


def test_restricted_namespaces_are_enforced(plane: ControlPlane) -> None:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"metadata": {"name": "restricted", "labels": label}}
    plane.client().call("POST", "/api/v1/namespaces", namespace)
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    with pytest.raises(ApiError, match="violates PodSecurity"):
        plane.client().call("POST", "/api/v1/namespaces/restricted/pods", pod)


def test_a_second_start_in_the_same_folder_is_empty_and_ends_the_first(tmp_path: Path) -> None:
    first = ControlPlane(tmp_path)
    first.start()
    left = [p for name in first.components if (p := first.supervisor.running(name))]
    assert len(left) == 2
    first.client().call("POST", "/api/v1/namespaces", NAMESPACE)
    with ControlPlane(tmp_path) as second:
        assert all(identify(process.pid) != process for process in left)
        with pytest.raises(ApiError, match="404"):
            second.client().get("/api/v1/namespaces/kept")
    assert second.supervisor.names() == []
