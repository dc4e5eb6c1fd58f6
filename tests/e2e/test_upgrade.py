"""`helm upgrade` while jobs come, run and end: from what was released last to this tree.

What was released last is the newest tag, or the commit that UPGRADE_FROM names: its chart, its CRDs
and an image of its operator. Before the first release it is this tree's chart under an older
version, with other defaults; its pods are replaced all the same.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest
import yaml

from localcluster import released
from localcluster.apiclient import ApiError
from localcluster.cluster import Cluster
from localdemo.setup import CHART, SYSTEM_NAMESPACE, install_operator
from localdemo.site import Site
from tests.e2e.conftest import User
from tests.operator.world import JsonObject, Namespace, stamp

pytestmark = pytest.mark.cluster

NODE = "no-kubelet"
EVERY_S, RUN_S = 0.5, 6.0
IMAGE_OF_THE_LAST = {"operator.image.tag": "released", "operator.image.pullPolicy": "Never"}


def install_released(site: Site, folder: Path) -> None:
    """Put what was released last into the cluster."""
    if ref := os.environ.get("UPGRADE_FROM") or released.newest_tag():
        tree = folder / "released"
        tree.mkdir()
        subprocess.run(["tar", "-x"], cwd=tree, input=released.archive_of(ref), check=True)
        images = [sys.executable, "-m", "localcluster.images", "load"]
        subprocess.run(
            [*images, "--only", "operator", "--tag", IMAGE_OF_THE_LAST["operator.image.tag"]],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree / "local")},
            check=True,
        )
        install_operator(site, tree / "helm/embedtune", IMAGE_OF_THE_LAST)
        return
    chart = shutil.copytree(CHART, folder / "chart")
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    about |= {"version": "0.0.1", "appVersion": "0.0.1"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    install_operator(site, chart, {"defaults.memory": "2Gi"})


class Team:
    """A namespace whose jobs go to a node that is only an object: pods run, and end, by the test.

    Attributes:
        names: the jobs submitted.
    """

    def __init__(self, ns: Namespace) -> None:
        self.ns = ns
        self.names: list[str] = []
        self._since: dict[str, float] = {}
        runtime = {
            "apiVersion": "embedtune.dev/v1alpha1",
            "kind": "FineTuneRuntime",
            "metadata": {"name": "nowhere"},
            "spec": {"default": True, "nodeSelector": {"kubernetes.io/hostname": NODE}},
        }
        ns.api.call("POST", ns.path("finetuneruntimes"), runtime)

    def submit(self) -> None:
        """One job more."""
        name = f"tune-{len(self.names)}"
        self.ns.submit(name)
        self.names.append(name)

    def step(self) -> None:
        """What a kubelet does with each pod; what changes meanwhile is for the next step."""
        for pod in self.ns.all("pods"):
            name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
            with suppress(ApiError):
                if "nodeName" not in pod["spec"]:
                    self.ns.bind(name, NODE)
                elif pod["status"]["phase"] == "Pending":
                    self.ns.run(name)
                    self._since[name] = time.monotonic()
                elif (
                    pod["status"]["phase"] == "Running"
                    and time.monotonic() > self._since[name] + RUN_S
                ):
                    self.ns.end(name, 0, self.ns.result(labels["embedtune.dev/job-name"]))

    def unfinished(self) -> dict[str, str]:
        """Jobs that are not Complete, with their reasons."""
        statuses = {
            job["metadata"]["name"]: job.get("status", {}) for job in self.ns.all("finetunejobs")
        }
        return {
            name: statuses[name].get("reason", "")
            for name in self.names
            if statuses[name].get("state") != "Complete"
        }


@contextmanager
def working(team: Team) -> Iterator[None]:
    """Jobs come, and pods run and end, all the while."""
    over = Event()

    def work() -> None:
        while not over.wait(EVERY_S):
            team.submit()
            team.step()

    with ThreadPoolExecutor(1) as thread:
        worked = thread.submit(work)
        try:
            yield
        finally:
            over.set()
        worked.result()


@pytest.fixture
def team(site: Site, other_user: User) -> Iterator[Team]:
    api = Cluster().plane.client()
    api.call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
    ns = Namespace(api, other_user.namespace)
    try:
        yield Team(ns)
    finally:
        api.call("DELETE", f"/api/v1/nodes/{NODE}")
        for pod in ns.all("pods"):
            ns.delete("pods", pod["metadata"]["name"])


def operators(site: Site) -> set[str]:
    """Names of the operator's pods."""
    label = "app.kubernetes.io/component=operator"
    listed = site.kubectl("get", "pods", "-n", SYSTEM_NAMESPACE, "-l", label, "-o", "name")
    return set(listed.split())


def test_no_job_notices(
    site: Site, user: User, team: Team, questions: list[tuple[str, str]], tmp_path: Path
) -> None:
    uri = user.data(questions[:200])
    install_released(site, tmp_path)
    before = operators(site)
    user.apply("real", uri, training={"epochs": 20, "batchSize": 16})
    user.wait("real", lambda s: (s.get("progress") or {}).get("phase") == "Training")
    (pod,) = user.pods("real")

    with working(team):
        time.sleep(2 * RUN_S)  # so that some have ended, and some run
        install_operator(site)
        time.sleep(2 * RUN_S)
    assert not before & operators(site)
    deadline = time.monotonic() + 120
    while waiting := team.unfinished():
        assert time.monotonic() < deadline, waiting
        team.step()
        time.sleep(EVERY_S)

    ours: list[JsonObject] = team.ns.all("finetunejobs")
    assert [job["status"].get("restarts", 0) for job in ours] == [0] * len(team.names)
    for plural in ("jobs", "pods"):
        of = [item["metadata"]["labels"]["embedtune.dev/job-name"] for item in team.ns.all(plural)]
        assert sorted(of) == sorted(team.names)
    told = team.ns.events()
    for reason in ("Created", "Succeeded"):
        assert told.count(reason) == len(team.names)

    status = user.finish("real")
    assert (status["state"], status.get("restarts", 0)) == ("Complete", 0)
    assert [p["metadata"]["uid"] for p in user.pods("real")] == [pod["metadata"]["uid"]]
    print(f"{len(team.names)} jobs came while the operator was replaced; {stamp()}")
