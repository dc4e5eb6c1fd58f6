"""Two replicas on a real control plane: one works, and the other goes on with it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.controlplane import ControlPlane
from tests.operator.world import Namespace, OperatorProcess, eventually

pytestmark = pytest.mark.controlplane

TAKEN_OVER_WITHIN_S = 15


class Replicas:
    """Both, with who leads."""

    def __init__(self, plane: ControlPlane, ns: Namespace, folder: Path) -> None:
        lease = f"{ns.name}/embedtune"
        self.all = [
            OperatorProcess(plane, folder / f"log-{n}", EMBEDTUNE_LEASE=lease) for n in range(2)
        ]
        for process in self.all:
            process.start()

    def leader(self) -> OperatorProcess:
        """Once there is one."""
        found = eventually(lambda: [p for p in self.all if leads(p)], what="a leader")
        assert len(found) == 1
        return found[0]

    def follower(self) -> OperatorProcess:
        """The other one."""
        leader = self.leader()
        return next(process for process in self.all if process is not leader)


def leads(process: OperatorProcess) -> bool:
    return "embedtune_leader 1.0" in process.get("/metrics")[1]


def writes(process: OperatorProcess) -> float:
    """Calls that were no watches, lists or looks at the Lease: a follower makes none."""
    lines = process.get("/metrics")[1].splitlines()
    called = [line for line in lines if line.startswith("embedtune_api_calls_total{")]
    return sum(
        float(line.split(" ")[1]) for line in called if 'verb="P' in line or 'verb="D' in line
    )


@pytest.fixture
def replicas(
    plane: ControlPlane, shared_operator: OperatorProcess, ns: Namespace, tmp_path: Path
) -> Iterator[Replicas]:
    shared_operator.kill()
    replicas = Replicas(plane, ns, tmp_path)
    yield replicas
    for process in replicas.all:
        process.kill()


def test_one_works_and_the_other_only_watches(replicas: Replicas, ns: Namespace) -> None:
    follower = replicas.follower()
    assert follower.get("/readyz")[0] == 200
    ns.submit()
    ns.end(ns.start_training(), 0, ns.result())
    ns.wait_reason("Succeeded")
    assert writes(follower) == 0
    jobs = 'embedtune_jobs{reason="Succeeded",state="Complete"}'
    assert [jobs in process.get("/metrics")[1] for process in (replicas.leader(), follower)] == [
        True,
        False,
    ]


@pytest.mark.parametrize("how", ["killed", "frozen", "told to end"])
def test_the_other_takes_over(replicas: Replicas, ns: Namespace, how: str) -> None:
    """With one job in each stage; nothing is made twice, nothing is left undone."""
    leader, follower = replicas.leader(), replicas.follower()
    ns.submit("ends")
    ending = ns.start_training()
    ns.submit("begins")
    beginning = ns.start_training(other_than=ending)
    # a replica that is killed between a status and its Event leaves that Event off
    eventually(lambda: ns.events().count("Training") == 2, what="both train, and it is told")
    began = time.monotonic()
    if how == "killed":
        leader.kill()
    elif how == "frozen":
        os.kill(leader.pid, signal.SIGSTOP)
    else:
        assert leader.stop() == 0
    ns.end(ending, 0, ns.result("ends"))
    ns.submit("new")
    ns.wait_reason("Succeeded", "ends", timeout_s=30)
    taken = time.monotonic() - began
    assert taken < TAKEN_OVER_WITHIN_S
    assert leads(follower)
    if how == "frozen":
        os.kill(leader.pid, signal.SIGCONT)
    ns.wait_reason("PodPending", "new")
    ns.end(beginning, 0, ns.result("begins"))
    ns.wait_reason("Succeeded", "begins")
    if how == "frozen":
        eventually(lambda: not leads(leader), what="the first knows that it does not lead")
        assert leader.get("/readyz")[0] == 200
    owners = [job["metadata"]["labels"]["embedtune.dev/job-name"] for job in ns.all("jobs")]
    assert sorted(owners) == ["begins", "ends", "new"]
    assert len(ns.all("pods")) == 3
    eventually(lambda: ns.events().count("Succeeded") == 2, what="both ends are told")
    told = ns.events()
    assert [told.count(reason) for reason in ("Created", "Training", "Succeeded")] == [3, 2, 2]


def test_without_an_api_server_nobody_leads_and_afterwards_one_does(
    plane: ControlPlane, replicas: Replicas, ns: Namespace
) -> None:
    replicas.leader()
    plane.kill_component("kube-apiserver")
    eventually(lambda: not any(map(leads, replicas.all)), what="nobody leads")
    plane.start_component("kube-apiserver")
    plane.wait_ready()
    replicas.leader()
    ns.submit()
    ns.wait_reason("PodPending")
