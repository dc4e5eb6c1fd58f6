"""The node: kubelet and kube-proxy on top of containerd, and the GPUs that it claims to have."""

import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcluster import host, network
from localcluster.apiclient import ApiError, answers
from localcluster.config import Config
from localcluster.containerd import NAME as CONTAINERD
from localcluster.containerd import Containerd
from localcluster.controlplane import ControlPlane
from localcluster.files import write_if_changed
from localcluster.kubeconfig import write_kubeconfig
from localcluster.mounts import unmount_below
from localcluster.pki import Certificate
from localcluster.processes import Command
from localcluster.tools import tool

KUBELET = "kubelet"
KUBE_PROXY = "kube-proxy"
COMPONENTS = (CONTAINERD, KUBELET, KUBE_PROXY)
GPU = "nvidia.com/gpu"
STORAGE = "ephemeral-storage"

_HEALTH_PORTS = {KUBELET: 10248, KUBE_PROXY: 10256}
_POD_LOG_LINKS = Path("/var/log/containers")  # the kubelet's, whose place can't be chosen
_REGISTERED = b"Successfully registered node"


def certificates(config: Config) -> tuple[Certificate, ...]:
    """What the kubelet and kube-proxy show to the API server, and the kubelet to its clients."""
    return (
        Certificate(
            KUBELET,
            f"system:node:{config.node_name}",
            "system:nodes",
            (f"DNS:{config.node_name}", f"IP:{config.node_ip}"),
        ),
        Certificate(KUBE_PROXY, "system:kube-proxy"),
    )


class Node:
    """This machine as the cluster's only node."""

    def __init__(self, config: Config, plane: ControlPlane) -> None:
        self._config = config
        self._plane = plane
        self._supervisor = plane.supervisor
        self.containerd = Containerd(config, plane.supervisor)

    def prepare_network(self) -> None:
        """Sets up the kernel and the bridge, to whose address the API server is bound."""
        host.prepare_kernel()
        network.up(self._config)

    def start_runtime(self) -> None:
        """Starts containerd; needs no API server yet."""
        self.containerd.start()

    def start(self) -> None:
        """Starts kubelet and kube-proxy; the API server must be ready and containerd too."""
        for name in (KUBELET, KUBE_PROXY):
            self.start_component(name)

    def start_component(self, name: str) -> None:
        """Starts containerd, the kubelet or kube-proxy, or replaces one that runs otherwise."""
        if name == CONTAINERD:
            self.containerd.start()
            return
        changed = self._write_configuration(name)
        command = Command(name, [str(tool(name)), *self._flags(name)])
        if changed:
            self._supervisor.stop(name)
        self._supervisor.start(command)

    def stop(self) -> None:
        """Stops the node with all its containers, and removes mounts, network and cgroups."""
        for name in (KUBE_PROXY, KUBELET):
            self._supervisor.stop(name)
        self.containerd.stop()
        unmount_below(self._config.node_dir)
        for link in _POD_LOG_LINKS.glob("*.log"):
            if link.is_symlink() and self._config.state_dir in link.readlink().parents:
                link.unlink()
        network.down(self._config)
        _remove_cgroups()

    def is_healthy(self, name: str) -> bool:
        """Whether a component runs and says that it is well."""
        if self._supervisor.running(name) is None:
            return False
        if name == CONTAINERD:
            return self.containerd.answers()
        return answers(f"http://{self._config.node_ip}:{self._port(name)}/healthz")

    def wait_ready(self, *, timeout_s: float = 60) -> None:
        """Waits until the kubelet that runs now has registered and says Ready, with its GPUs."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._has_registered() and self.is_ready():
                self.claim()
                return
            time.sleep(0.1)
        raise RuntimeError(
            f"the node is not Ready after {timeout_s:.0f} s; {self._supervisor.tail(KUBELET)}"
        )

    def is_ready(self) -> bool:
        """Whether the node is Ready, by a kubelet that has given a sign of life of late."""
        try:
            conditions = self._get(f"/api/v1/nodes/{self._config.node_name}")["status"][
                "conditions"
            ]
            lease = self._get(
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"
                + self._config.node_name
            )
        except (ApiError, OSError, KeyError):
            return False
        renewed = datetime.fromisoformat(lease["spec"]["renewTime"])
        is_alive = (datetime.now(UTC) - renewed).total_seconds() < 40
        return is_alive and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def claimed_gpus(self) -> str:
        """How many GPUs can be asked for, as the API server has it."""
        return self._allocatable().get(GPU, "0")

    def claim(self) -> None:
        """Says in the node's status what it has besides, so that pods that ask for it are placed.

        That is GPUs, and the disk, which this kubelet does not measure. It keeps what it finds
        there, except when it registers: then it resets resources of which it knows no device
        plugin. So this comes after each registration.
        """
        disk = shutil.disk_usage(self._config.state_dir).total
        claims = {GPU: str(self._config.gpus), STORAGE: f"{disk // 2**20}Mi"}
        found = self._allocatable()
        if any(found.get(name) != quantity for name, quantity in claims.items()):
            self._plane.client().call(
                "PATCH",
                f"/api/v1/nodes/{self._config.node_name}/status",
                {"status": {"capacity": claims, "allocatable": claims}},
            )

    def _allocatable(self) -> dict[str, str]:
        status = self._get(f"/api/v1/nodes/{self._config.node_name}")["status"]
        found: dict[str, str] = status.get("allocatable", {})
        return found

    def _get(self, path: str) -> dict[str, Any]:
        return self._plane.client().get(path)

    def _has_registered(self) -> bool:
        return _REGISTERED in self._supervisor.log(KUBELET).read_bytes()

    def _port(self, name: str) -> int:
        return self._plane.ports.get(f"{name}-health", _HEALTH_PORTS[name])

    def _flags(self, name: str) -> list[str]:
        flags = [f"--config={self._configuration_path(name)}"]
        if name == KUBELET:
            flags += [
                f"--kubeconfig={self._kubeconfig(name)}",
                f"--root-dir={self._config.node_dir / KUBELET}",
                f"--cert-dir={self._config.node_dir / 'kubelet-pki'}",
                f"--hostname-override={self._config.node_name}",
                f"--node-ip={self._config.node_ip}",
            ]
        return flags

    def _kubeconfig(self, name: str) -> Path:
        return self._plane.pki.directory / f"{name}.kubeconfig"

    def _configuration_path(self, name: str) -> Path:
        return self._config.node_dir / f"{name}.yaml"

    def _write_configuration(self, name: str) -> bool:
        pki = self._plane.pki
        changed = write_kubeconfig(self._kubeconfig(name), self._plane.url, pki, name)
        if name == KUBELET:
            content = kubelet_configuration(
                self._config,
                ca=pki.certificate("ca"),
                certificate=pki.certificate(KUBELET),
                key=pki.key(KUBELET),
                port=self._plane.ports.get(KUBELET, 10250),
                health_port=self._port(KUBELET),
            )
        else:
            content = kube_proxy_configuration(
                self._config,
                self._kubeconfig(name),
                health_port=self._port(KUBE_PROXY),
                metrics_port=self._plane.ports.get("kube-proxy-metrics", 10249),
            )
        return write_if_changed(self._configuration_path(name), json.dumps(content)) or changed


def kubelet_configuration(
    config: Config, *, ca: Path, certificate: Path, key: Path, port: int, health_port: int
) -> dict[str, Any]:
    """The KubeletConfiguration: cgroupfs, swap or not, and no eviction on a nearly full disk."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": config.node_ip,
        "port": port,
        "readOnlyPort": 0,
        "healthzBindAddress": config.node_ip,
        "healthzPort": health_port,
        "authentication": {
            "x509": {"clientCAFile": str(ca)},
            "webhook": {"enabled": True},
            "anonymous": {"enabled": False},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "containerRuntimeEndpoint": f"unix://{config.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "evictionHard": {
            "memory.available": "64Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMaximumGCAge": "0s",
        "clusterDNS": [config.dns_ip],
        "clusterDomain": "cluster.local",
        "resolvConf": str(host.upstream_resolvers()),
        "podLogsDir": str(config.state_dir / "logs" / "pods"),
        "serializeImagePulls": False,
    }


def kube_proxy_configuration(
    config: Config, kubeconfig: Path, *, health_port: int, metrics_port: int
) -> dict[str, Any]:
    """The KubeProxyConfiguration: iptables, NodePorts on the bridge's address alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": config.pod_cidr,
        "hostnameOverride": config.node_name,
        "healthzBindAddress": f"{config.node_ip}:{health_port}",
        "metricsBindAddress": f"{config.node_ip}:{metrics_port}",
        "nodePortAddresses": [f"{config.node_ip}/32"],
        # Connection tracking limits are the machine's business.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _remove_cgroups() -> None:
    """Removes the kubelet's empty control groups, on cgroup v1 and v2."""
    roots = [Path("/sys/fs/cgroup/kubepods"), *Path("/sys/fs/cgroup").glob("*/kubepods")]
    for root in roots:
        for folder, _, _ in os.walk(root, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                continue  # not empty: it belongs to somebody else
