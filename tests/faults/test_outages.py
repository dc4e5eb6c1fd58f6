"""The API server or etcd is gone for a while, with jobs in every stage: nothing is lost or doubled.

`make faults` waits a minute, which is longer than any pause between two attempts; `make test` five
seconds. S3's outage and the loss of a pod on a real kubelet are in tests/trainer/checkpoints and
tests/e2e.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.controlplane import APISERVER, ETCD, ControlPlane
from tests.faults.conftest import WHOLE
from tests.operator.world import Namespace, OperatorProcess, eventually, true_conditions

pytestmark = pytest.mark.controlplane

GONE_S = 60.0 if WHOLE else 5.0
BACK_WITHIN_S = 60.0
CONTROLLER_BACK_WITHIN_S = 150.0
"""Kubernetes' own controllers wait 30 to 60 s before they try a lost API server again."""
_numbers = itertools.count(1)


@pytest.fixture
def operator(plane: ControlPlane, tmp_path: Path) -> Iterator[OperatorProcess]:
    process = OperatorProcess(plane, tmp_path / "operator.log")
    process.start()
    yield process
    process.kill()


def team(plane: ControlPlane) -> Namespace:
    """A namespace with a job in it."""
    ns = Namespace(plane.client(), f"outage-{next(_numbers)}").create()
    ns.submit()
    return ns


def job_is_suspended(ns: Namespace) -> bool:
    """Whether the Job controller says so of the namespace's only Job."""
    (job,) = ns.all("jobs")
    return "Suspended" in true_conditions({"conditions": [], **job["status"]})


@pytest.mark.parametrize("what", [APISERVER, ETCD])
def test_jobs_finish_after_an_outage(
    plane: ControlPlane, operator: OperatorProcess, what: str
) -> None:
    waits, trains, ends, stops = (team(plane) for _ in range(4))
    pods = {ns.name: ns.start_training() for ns in (trains, ends, stops)}
    for ns in (trains, ends, stops):
        ns.wait_reason("Training")
    waits.wait_reason("PodPending")
    results = {ns.name: ns.result() for ns in (trains, ends)}
    operator.kill()  # so that none of this is done before the outage
    ends.end(pods[ends.name], 0, results[ends.name])
    stops.patch("finetunejobs", "tune", {"spec": {"suspend": True}})
    new = team(plane)
    plane.kill_component(what)
    operator.start(wait=False)
    # an API server that has just started does not know yet all that it serves
    eventually(
        lambda: operator.get("/healthz")[0], what="it runs before the API server", timeout_s=60
    )
    time.sleep(GONE_S)
    plane.start_component(what)
    plane.wait_ready()

    ends.wait_reason("Succeeded", timeout_s=BACK_WITHIN_S)
    stops.wait_reason("Suspending", timeout_s=BACK_WITHIN_S)
    trains.end(pods[trains.name], 0, results[trains.name])
    trains.wait_reason("Succeeded", timeout_s=BACK_WITHIN_S)
    stops.end(pods[stops.name], 81)
    stops.delete("pods", pods[stops.name])
    eventually(
        lambda: job_is_suspended(stops),
        what="the Job controller is back",
        timeout_s=CONTROLLER_BACK_WITHIN_S,
    )
    stops.wait_reason("Suspended", timeout_s=BACK_WITHIN_S)
    for ns in (waits, new):
        ns.wait_reason("PodPending", timeout_s=BACK_WITHIN_S)
        ns.end(ns.start_training(), 0, ns.result())
        ns.wait_reason("Succeeded", timeout_s=BACK_WITHIN_S)
    everyone = (waits, trains, ends, stops, new)
    assert [len(ns.all("jobs")) for ns in everyone] == [1] * 5
    assert [len(ns.all("pods")) for ns in everyone] == [1, 1, 1, 0, 1]
    assert [line for line in operator.log() if "exception" in line] == []
