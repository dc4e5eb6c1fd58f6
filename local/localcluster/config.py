"""Where the cluster keeps its things and which addresses it uses: one frozen value."""

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_STATE = "/var/lib/embedtune-local"


@dataclass(frozen=True)
class Config:
    """The local cluster's settings.

    Attributes:
        state_dir: everything that is written lies below it; EMBEDTUNE_LOCAL_STATE.
        pod_cidr: addresses of pods, the first being the bridge's; EMBEDTUNE_LOCAL_POD_CIDR.
        service_cidr: addresses of Services; EMBEDTUNE_LOCAL_SERVICE_CIDR.
        bridge: the name of the network device that pods are attached to.
        node_name: the node's name in Kubernetes.
        gpus: how many nvidia.com/gpu the node claims to have.
        s3_access_key: MinIO's root user; its data never leave this machine.
        s3_secret_key: MinIO's root password.
    """

    state_dir: Path = field(
        default_factory=lambda: Path(os.environ.get("EMBEDTUNE_LOCAL_STATE") or DEFAULT_STATE)
    )
    pod_cidr: str = field(
        default_factory=lambda: os.environ.get("EMBEDTUNE_LOCAL_POD_CIDR") or "10.213.0.0/24"
    )
    service_cidr: str = field(
        default_factory=lambda: os.environ.get("EMBEDTUNE_LOCAL_SERVICE_CIDR") or "10.214.0.0/16"
    )
    bridge: str = "embedtune0"
    node_name: str = "embedtune-local"
    gpus: int = 4
    s3_access_key: str = "embedtune"
    s3_secret_key: str = "embedtune-local-only"

    @property
    def node_ip(self) -> str:
        """The bridge's address, at which the node and the API server are reached."""
        return str(ipaddress.ip_network(self.pod_cidr)[1])

    @property
    def dns_ip(self) -> str:
        """The Service address of CoreDNS."""
        return str(ipaddress.ip_network(self.service_cidr)[10])

    @property
    def minio_ip(self) -> str:
        """The Service address of MinIO, the same at every start."""
        return str(ipaddress.ip_network(self.service_cidr)[20])

    @property
    def s3_url_host(self) -> str:
        """MinIO's URL for programs on this machine."""
        return f"http://{self.minio_ip}:9000"

    @property
    def s3_url_cluster(self) -> str:
        """MinIO's URL for pods."""
        return "http://minio.minio.svc:9000"

    @property
    def node_dir(self) -> Path:
        """Containerd's, CNI's and the kubelet's part of the state."""
        return self.state_dir / "node"

    @property
    def containerd_socket(self) -> Path:
        """The address of our own containerd."""
        return self.node_dir / "containerd.sock"
