"""The running node: pods as restricted as the trainer's, DNS, S3, OOM kills, and recovery."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localcluster import node
from localcluster.cluster import Cluster, ensure_up
from localcluster.containerd import BUSYBOX_IMAGE
from localcluster.controlplane import APISERVER

pytestmark = pytest.mark.cluster

RunPod = Callable[..., tuple[dict[str, Any], str]]

NAMESPACE = "local-cluster-test"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    ensure_up()
    return Cluster()


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"metadata": {"generateName": f"{NAMESPACE}-", "labels": label}}
    made = json.loads(cluster.plane.client().call("POST", "/api/v1/namespaces", body))
    name = made["metadata"]["name"]
    yield name
    cluster.plane.client().call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def run(cluster: Cluster, namespace: str) -> RunPod:
    """Run a shell command in a restricted pod; gives the pod as it ended, and its log."""

    def run_pod(script: str, limits: dict[str, str] | None = None) -> tuple[dict[str, Any], str]:
        client = cluster.plane.client()
        pods = f"/api/v1/namespaces/{namespace}/pods"
        container = {
            "name": "main",
            "image": BUSYBOX_IMAGE,
            "command": ["sh", "-c", script],
            "securityContext": RESTRICTED,
            "resources": {"limits": limits or {}},
        }
        security = {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": security,
            "containers": [container],
        }
        body = {"metadata": {"generateName": "pod-"}, "spec": spec}
        deadline = time.monotonic() + 60
        name = json.loads(client.call("POST", pods, body))["metadata"]["name"]
        while True:
            pod = client.get(f"{pods}/{name}")
            if pod["status"].get("phase") in ("Succeeded", "Failed"):
                return pod, client.call("GET", f"{pods}/{name}/log")
            assert time.monotonic() < deadline, pod["status"]
            time.sleep(0.2)

    return run_pod


def test_the_node_is_ready_and_every_component_well(cluster: Cluster) -> None:
    assert [component.name for component in cluster.status() if not component.healthy] == []


def test_a_restricted_pod_resolves_services_and_reaches_minio(
    cluster: Cluster, run: RunPod
) -> None:
    # Debian's static busybox can't fetch: glibc's resolver doesn't work in it, its wget crashes.
    pod, log = run(
        "nslookup minio.minio.svc.cluster.local && "
        "printf 'GET /minio/health/live HTTP/1.0\\r\\nHost: minio\\r\\n\\r\\n' | "
        f"nc -w 5 {cluster.config.minio_ip} 9000"
    )
    assert pod["status"]["phase"] == "Succeeded", log
    assert f"Address: {cluster.config.minio_ip}" in log
    assert "200 OK" in log


def test_a_pod_reaches_the_api_server(cluster: Cluster, run: RunPod) -> None:
    service = cluster.config.service_cidr.split("/")[0].removesuffix("0") + "1"
    pod, log = run(f"nc -w 5 {service} 443 </dev/null && echo reached")
    assert pod["status"]["phase"] == "Succeeded", log


def test_a_pod_can_ask_for_a_gpu(run: RunPod) -> None:
    pod, log = run("echo there", {node.GPU: "1"})
    assert (pod["status"]["phase"], log) == ("Succeeded", "there\n")


def test_an_oom_kill_is_reported_as_one(run: RunPod) -> None:
    pod, _ = run("tail /dev/zero", {"memory": "32Mi"})
    (status,) = pod["status"]["containerStatuses"]
    assert status["state"]["terminated"]["reason"] == "OOMKilled"
    assert status["state"]["terminated"]["exitCode"] == 137


def test_minio_answers_on_the_host(cluster: Cluster) -> None:
    url = f"{cluster.info.s3_url_host}/minio/health/live"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        assert answer.status == 200


def test_up_again_changes_nothing(cluster: Cluster) -> None:
    names = cluster.plane.supervisor.names()
    before = {name: cluster.plane.supervisor.running(name) for name in names}
    cluster.up()
    assert {name: cluster.plane.supervisor.running(name) for name in names} == before


def test_a_restarted_kubelet_keeps_its_gpus(cluster: Cluster) -> None:
    cluster.plane.supervisor.kill(node.KUBELET)
    cluster.start_component(node.KUBELET)
    assert cluster.node.claimed_gpus() == str(cluster.config.gpus)


def test_up_recovers_when_every_component_was_killed(cluster: Cluster, run: RunPod) -> None:
    supervisor = cluster.plane.supervisor
    before = {name: supervisor.running(name) for name in supervisor.names()}
    for name in before:
        assert supervisor.kill(name)
    assert not cluster.is_up()
    cluster.up()
    assert cluster.is_up()
    assert supervisor.running(APISERVER) != before[APISERVER]
    pod, log = run("echo back")
    assert (pod["status"]["phase"], log) == ("Succeeded", "back\n")
