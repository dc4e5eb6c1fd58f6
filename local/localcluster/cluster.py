"""The whole cluster: brought up, looked at, taken down. Each of these may be repeated at will."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from localcluster import addons, controlplane, host, node
from localcluster.addons import Addons
from localcluster.apiclient import ApiError
from localcluster.config import Config
from localcluster.controlplane import ControlPlane
from localcluster.locks import locked
from localcluster.node import Node
from localcluster.say import timed
from localcluster.tools import build


@dataclass(frozen=True)
class ClusterInfo:
    """How to reach a running cluster.

    Attributes:
        kubeconfig: the administrator's.
        s3_url_host: MinIO for programs on this machine.
        s3_url_cluster: MinIO for pods.
        access_key: MinIO's root user.
        secret_key: MinIO's root password.
    """

    kubeconfig: Path
    s3_url_host: str
    s3_url_cluster: str
    access_key: str
    secret_key: str


@dataclass(frozen=True)
class ComponentStatus:
    """One line of `status`.

    Attributes:
        name: the component.
        healthy: whether it runs and answers.
        pid: its process, None for what runs as a pod or doesn't run.
        log: where to read on.
    """

    name: str
    healthy: bool
    pid: int | None
    log: str


class Cluster:
    """The single-node cluster of one state folder."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.plane = ControlPlane(
            self.config.state_dir,
            self.config.node_ip,
            controlplane.Options(
                controller_manager=True,
                scheduler=True,
                daemon=True,
                service_cidr=self.config.service_cidr,
                certificates=node.certificates(self.config),
                no_proxy=(self.config.pod_cidr, self.config.service_cidr, ".svc", ".cluster.local"),
            ),
        )
        self.node = Node(self.config, self.plane)
        self.addons = Addons(self.config, self.plane, self.node.containerd)

    @property
    def info(self) -> ClusterInfo:
        """How to reach it."""
        return ClusterInfo(
            kubeconfig=self.plane.kubeconfig,
            s3_url_host=self.config.s3_url_host,
            s3_url_cluster=self.config.s3_url_cluster,
            access_key=self.config.s3_access_key,
            secret_key=self.config.s3_secret_key,
        )

    def up(self) -> ClusterInfo:
        """Brings up what isn't up, and waits until all of it answers.

        Raises:
            Lacking: the machine lacks something; the message names the command that mends it.
            RuntimeError: a component did not come up; the message ends with its log.
        """
        require()
        build()
        with self._lock(), timed("starting the cluster"):
            self._start()
        return self.info

    def down(self, *, purge: bool = False) -> None:
        """Stops every process and container and removes the network; with purge, the data too."""
        host.require_root()
        if not self.config.state_dir.exists():  # and the programs to stop it with may be missing
            return
        with self._lock():
            self.node.stop()
            self.plane.stop()
            self.plane.end_strays()
            if purge:
                self._purge()

    def status(self) -> list[ComponentStatus]:
        """How each component is doing."""
        checks = [
            *((name, self.plane.is_healthy) for name in self.plane.components),
            *((name, self.node.is_healthy) for name in node.COMPONENTS),
            *((name, self.addons.is_healthy) for name in addons.COMPONENTS),
        ]
        if not (self.config.state_dir / "pki").exists():
            return [ComponentStatus(name, False, None, "") for name, _ in checks]
        found = []
        for name, is_healthy in checks:
            process = self.plane.supervisor.running(name)
            if name in addons.COMPONENTS:
                log = str(self.config.state_dir / "logs" / "pods")
            else:
                log = str(self.plane.supervisor.log(name))
            pid = process.pid if process else None
            found.append(ComponentStatus(name, is_healthy(name), pid, log))
        return [*found, self._node_status()]

    def is_up(self) -> bool:
        """Whether every component is healthy."""
        return all(component.healthy for component in self.status())

    def start_component(self, name: str) -> None:
        """Starts a stopped or killed process of the cluster again; waits until it answers."""
        if name in self.plane.components:
            self.plane.start_component(name)
            self.plane.wait_ready()
        else:
            self.node.start_component(name)
            self.node.wait_ready()

    def _start(self) -> None:
        self.plane.end_strays()
        running = self.plane.supervisor.running
        host.refuse_second_node([running(name) for name in node.COMPONENTS])
        with ThreadPoolExecutor(2) as threads:
            # The API server's address is the bridge's, so the network comes first.
            self.node.prepare_network()
            runtime = threads.submit(self._start_runtime)
            self.plane.start()
            runtime.result()
        self.node.start()
        self.addons.apply()
        self.node.wait_ready()
        self.addons.wait_ready()
        for component in self.status():
            if not component.healthy:
                told = self.plane.supervisor.tail(component.name)
                raise RuntimeError(f"{component.name} is not healthy; {told}")

    def _start_runtime(self) -> None:
        self.node.start_runtime()
        self.addons.load_images()

    def _node_status(self) -> ComponentStatus:
        try:
            gpus = self.node.claimed_gpus()
        except (ApiError, OSError):
            gpus = "0"
        healthy = self.node.is_ready() and gpus == str(self.config.gpus)
        return ComponentStatus(f"node ({gpus} GPUs claimed)", healthy, None, "")

    def _purge(self) -> None:
        for entry in self.config.state_dir.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        self.config.state_dir.rmdir()

    def _lock(self) -> AbstractContextManager[None]:
        """One `up` or `down` at a time."""
        return locked(self.config.state_dir / "lock", "another `up` or `down`")


def require() -> None:
    """Makes sure that a node can run here.

    Raises:
        Lacking: the machine lacks something; the message names the command that mends it.
    """
    host.require_root()
    host.ensure_node_programs()


def ensure_up() -> ClusterInfo:
    """The running cluster, started first if it isn't up."""
    cluster = Cluster()
    return cluster.info if cluster.is_up() else cluster.up()


def import_image(path: Path) -> list[str]:
    """Imports a docker-archive or OCI folder into the running node; gives the images' names."""
    return Cluster().node.containerd.import_image(path)
