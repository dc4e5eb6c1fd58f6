"""What tests share: a real control plane, and the whole cluster where the machine can have it.

The quick layers use neither. `control_plane` runs etcd and kube-apiserver as ordinary processes;
`cluster` is the single-node Kubernetes of local/, which needs root on Linux, and without root its
tests are skipped by name.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from localcluster.controlplane import ControlPlane
from localcluster.tools import tool

# Threads that wait for each other spin: where networks are tiny and cores few, one is several times
# faster. Nothing has imported torch yet; what the tests start inherits it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("embedtune", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("embedtune")

ROOT = Path(__file__).resolve().parent.parent
CRDS = sorted((ROOT / "crds").glob("embedtune.dev_*.yaml"))


@pytest.fixture(autouse=True)
def _environment_restored() -> Iterator[None]:
    """What a run in this process sets for itself (HOME, caches) must not reach the next test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


Kubectl = Callable[..., subprocess.CompletedProcess[str]]


CLUSTERS = ("api", "chart", "operator", "faults", "cluster", "e2e")
"""Folders whose tests need a control plane or the cluster, many of them."""


class Scheduling(LoadScopeScheduling):
    """The files are shared between the workers, but one begins with all that needs a cluster.

    There is one cluster on a machine; and those tests wait more than they work, so the others go on
    meanwhile.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "clusters" if file.split("/")[1] in CLUSTERS else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """See Scheduling."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order them, and skip what needs the kubelet where there is no root.

    What needs less comes first; of several workers the first is to take the clusters' scope.
    """
    no_root = pytest.mark.skip(reason="needs the kubelet: run as root on Linux")
    for item in items:
        if item.get_closest_marker("cluster") and os.geteuid() != 0:
            item.add_marker(no_root)
    items.sort(key=_layer)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _layer(item) == 0)


def _layer(item: pytest.Item) -> int:
    if item.get_closest_marker("cluster"):
        return 3
    if item.get_closest_marker("controlplane"):
        return 2
    return 1 if item.path.relative_to(ROOT / "tests").parts[0] in CLUSTERS else 0


def kubectl_with(kubeconfig: Path) -> Kubectl:
    """kubectl against one cluster, as a function of its arguments."""
    binary = str(tool("kubectl"))

    def run(
        *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [binary, "--kubeconfig", str(kubeconfig), *arguments],
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver with the CRDs installed."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as plane:
        install_crds(kubectl_with(plane.kubeconfig))
        yield plane


def install_crds(kubectl: Kubectl) -> None:
    """Apply the CRDs and wait until they are served.

    `kubectl wait` fails on an object that has no conditions yet, so it is asked again.
    """
    files = [word for file in CRDS for word in ("-f", str(file))]
    kubectl("apply", "--server-side", *files)
    for _ in range(100):
        done = kubectl("wait", "--for=condition=Established", *files, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"the CRDs are not established: {done.stderr}")


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """kubectl against the control plane."""
    return kubectl_with(control_plane.kubeconfig)
