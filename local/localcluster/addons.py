"""What runs as pods in every local cluster: CoreDNS and MinIO."""

import secrets
import socket
import string
import subprocess
import time
from pathlib import Path

from localcluster.apiclient import answers
from localcluster.config import Config
from localcluster.containerd import Containerd
from localcluster.controlplane import ControlPlane
from localcluster.tools import owner, tool

COREDNS = "coredns"
MINIO = "minio"
COMPONENTS = (COREDNS, MINIO)

_MANIFESTS = Path(__file__).resolve().parent / "manifests"


class Addons:
    """The pods that `up` brings along."""

    def __init__(self, config: Config, plane: ControlPlane, containerd: Containerd) -> None:
        self._config = config
        self._plane = plane
        self._containerd = containerd

    def load_images(self) -> None:
        """Makes the images; each is named after its module's versions, so a change is rolled."""
        for name in COMPONENTS:
            self._containerd.ensure_image(
                image_name(name), {f"/bin/{name}": tool(name)}, {"Entrypoint": [f"/bin/{name}"]}
            )

    def apply(self) -> None:
        """Applies the manifests, which changes nothing when nothing has changed."""
        manifests = "---\n".join(rendered(name, self._config) for name in COMPONENTS)
        done = subprocess.run(
            [
                *(tool("kubectl"), "--kubeconfig", self._plane.kubeconfig, "apply"),
                *("--server-side", "--force-conflicts", "--field-manager=localcluster", "-f", "-"),
            ],
            check=False,
            input=manifests,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl apply failed: {done.stderr.strip()}")

    def is_healthy(self, name: str) -> bool:
        """Whether it answers at its Service's address."""
        if name == COREDNS:
            return resolves(self._config.dns_ip, "kubernetes.default.svc.cluster.local")
        return answers(f"{self._config.s3_url_host}/minio/health/live", timeout_s=1)

    def wait_ready(self, *, timeout_s: float = 90) -> None:
        """Waits until both answer."""
        deadline = time.monotonic() + timeout_s
        waiting = list(COMPONENTS)
        while waiting:
            waiting = [name for name in waiting if not self.is_healthy(name)]
            if waiting and time.monotonic() > deadline:
                raise RuntimeError(
                    f"{' and '.join(waiting)} did not answer in {timeout_s:.0f} s; "
                    "see `kubectl get pods -A` and the logs"
                )
            time.sleep(0.1)


def image_name(name: str) -> str:
    """The image of an add-on, named after the versions that it is built from."""
    return f"localhost/embedtune/{name}:{owner(name).cache_key()}"


def rendered(name: str, config: Config) -> str:
    """The manifests of an add-on."""
    return string.Template((_MANIFESTS / f"{name}.yaml").read_text()).substitute(
        dns_ip=config.dns_ip,
        minio_ip=config.minio_ip,
        minio_data=config.state_dir / MINIO,
        s3_access_key=config.s3_access_key,
        s3_secret_key=config.s3_secret_key,
        coredns_image=image_name(COREDNS),
        minio_image=image_name(MINIO),
    )


def resolves(server: str, name: str, *, timeout_s: float = 0.5) -> bool:
    """Whether a DNS server knows an IPv4 address of a name (RFC 1035, one question over UDP)."""
    number = secrets.token_bytes(2)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = number + b"\x01\x00\x00\x01" + bytes(6) + labels + b"\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout_s)
        try:
            client.sendto(question, (server, 53))
            answer = client.recv(512)
        except OSError:
            return False
    code, count = answer[3] & 0x0F, int.from_bytes(answer[6:8], "big")
    return answer[:2] == number and code == 0 and count > 0
