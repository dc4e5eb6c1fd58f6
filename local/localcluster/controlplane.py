"""etcd and the API server as ordinary processes, with the controllers when they are wanted.

Tests use it without root and get an empty, private API server in a few seconds:

    with ControlPlane(tmp_path) as plane:
        subprocess.run([tool("kubectl"), "--kubeconfig", plane.kubeconfig, "get", "ns"])

The cluster of `up` is the same class bound to the bridge's address, with everything on.
"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from localcluster.apiclient import ApiClient
from localcluster.kubeconfig import write_kubeconfig
from localcluster.pki import Certificate, Pki
from localcluster.ports import Ports
from localcluster.processes import Command, Supervisor, end
from localcluster.tools import tool

ETCD = "etcd"
APISERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"

# What may be found running on a state folder after its records were lost.
PROGRAMS = (ETCD, APISERVER, CONTROLLER_MANAGER, SCHEDULER, "kubelet", "kube-proxy", "containerd")

_LOOPBACK = "127.0.0.1"
_UNCACHED = "/api/v1/namespaces/default/configmaps/none"
_PREFERRED_PORTS = {APISERVER: 6443, CONTROLLER_MANAGER: 10257, SCHEDULER: 10259}


@dataclass(frozen=True)
class Options:
    """What a control plane consists of.

    Attributes:
        controller_manager: whether deployments, jobs, garbage collection and so on work.
        scheduler: whether pods are given to nodes.
        daemon: whether the processes outlive the caller and its data is kept, as `up` wants;
            otherwise they die with the thread that started them, and each start is an empty one.
        service_cidr: addresses for Services; its first one is kubernetes.default.
        certificates: further ones to be signed, such as the kubelet's.
        apiserver_flags: appended to the API server's command line.
        controller_manager_flags: appended to the controller-manager's.
        no_proxy: networks that are never reached through an HTTP proxy of the environment.
    """

    controller_manager: bool = False
    scheduler: bool = False
    daemon: bool = False
    service_cidr: str = "10.214.0.0/16"
    certificates: tuple[Certificate, ...] = ()
    apiserver_flags: tuple[str, ...] = ()
    controller_manager_flags: tuple[str, ...] = ()
    no_proxy: tuple[str, ...] = ()


class ControlPlane:
    """A control plane of one state folder; a context manager, or start() and stop().

    Attributes:
        kubeconfig: the administrator's.
        supervisor: starts and stops the single processes.
        pki: the certificates.
        url: the API server's.
    """

    def __init__(
        self, state_dir: Path, address: str = _LOOPBACK, options: Options | None = None
    ) -> None:
        """Takes the folder for data, keys and logs, and the address to listen on."""
        self.state_dir = state_dir
        self.address = address
        self.options = options or Options()
        self.kubeconfig = state_dir / "kubeconfig"
        self.pki = Pki(state_dir / "pki")
        self.supervisor = Supervisor(
            state_dir / "run",
            state_dir / "logs",
            die_with_parent=not self.options.daemon,
            environment=without_proxy((*self.options.no_proxy, address)),
        )
        self.ports = Ports(state_dir / "ports.json", address)

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return f"https://{self.address}:{self._port(APISERVER)}"

    @property
    def components(self) -> tuple[str, ...]:
        """The names of its processes, in the order in which they start."""
        extra = (
            (self.options.controller_manager, CONTROLLER_MANAGER),
            (self.options.scheduler, SCHEDULER),
        )
        return (ETCD, APISERVER, *(name for is_on, name in extra if is_on))

    def client(self, component: str = APISERVER) -> ApiClient:
        """An administrator's client for a component's HTTPS port."""
        return ApiClient(
            f"https://{self.address}:{self._port(component)}",
            self.pki.certificate("ca"),
            self.pki.certificate("admin"),
            self.pki.key("admin"),
        )

    def start(self) -> None:
        """Starts what isn't running, and waits until the API server is ready."""
        if not self.options.daemon:
            self._clear()
        self.state_dir.mkdir(parents=True, exist_ok=True)
        if self.pki.ensure(self._certificates()):
            self._stop_components()
        self.write_kubeconfigs()
        for name in (ETCD, APISERVER):
            self.start_component(name)
        self.wait_ready()
        # The controller-manager gives up where the API server doesn't know its role yet.
        for name in self.components[2:]:
            self.start_component(name)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Waits until the API server is ready and reads from etcd, not only from its caches.

        Raises:
            RuntimeError: it wasn't ready in time; the message ends with its log.
        """
        client = self.client()
        deadline = time.monotonic() + timeout_s
        while not (client.is_ready() and client.reads(_UNCACHED)):
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            dead = [name for name in (ETCD, APISERVER) if not self.supervisor.running(name)]
            told = self.supervisor.tail(dead[0] if dead else APISERVER)
            raise RuntimeError(f"the API server is not ready after {timeout_s:.0f} s; {told}")

    def start_component(self, name: str) -> None:
        """Starts one process, unless it runs; its data and ports are those it had before."""
        self.supervisor.start(self.command(name))

    def stop_component(self, name: str) -> None:
        """Stops one process kindly; the others go on."""
        self.supervisor.stop(name)

    def kill_component(self, name: str) -> None:
        """Kills one process, as a crash would."""
        self.supervisor.kill(name)

    def stop(self) -> None:
        """Stops every process."""
        self._stop_components()

    def end_strays(self) -> None:
        """Ends processes that work on this folder although it has no record of them."""
        for stray in self.supervisor.strays(PROGRAMS, self.state_dir):
            end(stray, grace_s=0)

    def is_healthy(self, name: str) -> bool:
        """Whether a component runs and says that it is well."""
        if self.supervisor.running(name) is None:
            return False
        if name == ETCD:
            return self.client().is_ready("/readyz/etcd")
        return self.client(name).is_ready("/readyz" if name == APISERVER else "/healthz")

    def write_kubeconfigs(self) -> None:
        """Writes the administrator's kubeconfig and those of the components."""
        write_kubeconfig(self.kubeconfig, self.url, self.pki, "admin")
        for user in (CONTROLLER_MANAGER, SCHEDULER):
            write_kubeconfig(self._kubeconfig_of(user), self.url, self.pki, user)

    def command(self, name: str) -> Command:
        """The command line of a component."""
        flags = {
            ETCD: self._etcd,
            APISERVER: self._apiserver,
            CONTROLLER_MANAGER: self._controller_manager,
            SCHEDULER: self._scheduler,
        }[name]()
        return Command(name, [str(tool(name)), *flags])

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _stop_components(self) -> None:
        for name in reversed(self.components):
            # Nothing of a throw-away API server needs to be finished.
            self.supervisor.stop(name, grace_s=4 if self.options.daemon else 0)

    def _clear(self) -> None:
        """Ends what an earlier, killed run left in this folder, and forgets its data."""
        for name in self.supervisor.names():
            self.supervisor.stop(name, grace_s=0)
        self.end_strays()
        shutil.rmtree(self.state_dir / "etcd", ignore_errors=True)
        self.ports.forget()

    def _port(self, name: str) -> int:
        preferred = _PREFERRED_PORTS.get(name, 0) if self.options.daemon else 0
        return self.ports.get(name, preferred)

    def _kubeconfig_of(self, user: str) -> Path:
        return self.pki.directory / f"{user}.kubeconfig"

    def _certificates(self) -> Sequence[Certificate]:
        first_service = self.options.service_cidr.split("/")[0].rsplit(".", 1)[0] + ".1"
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
        serving = tuple(f"DNS:{name}" for name in names) + tuple(
            f"IP:{ip}" for ip in dict.fromkeys((self.address, _LOOPBACK, first_service))
        )
        return (
            Certificate("apiserver", "kube-apiserver", alt_names=serving),
            Certificate("apiserver-kubelet", "kube-apiserver-kubelet", "system:masters"),
            Certificate("admin", "admin", "system:masters"),
            Certificate(CONTROLLER_MANAGER, "system:kube-controller-manager"),
            Certificate(SCHEDULER, "system:kube-scheduler"),
            Certificate("etcd", "etcd", alt_names=(f"IP:{_LOOPBACK}",), authority="etcd-ca"),
            Certificate("etcd-client", "kube-apiserver", authority="etcd-ca"),
            *self.options.certificates,
        )

    def _etcd_url(self, purpose: str) -> str:
        return f"https://{_LOOPBACK}:{self.ports.get(purpose, address=_LOOPBACK)}"

    def _etcd(self) -> list[str]:
        clients, peers = self._etcd_url("etcd"), self._etcd_url("etcd-peers")
        flags = [
            *("--name=local", f"--data-dir={self.state_dir / 'etcd'}", "--unsafe-no-fsync"),
            *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
            # with HTTP elsewhere, gRPC is served by itself here: behind Go's HTTP server each event
            # of a watch is flushed alone, and 130 a second are the most when the cores are busy
            f"--listen-client-http-urls={self._etcd_url('etcd-http')}",
            *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
            *(f"--initial-cluster=local={peers}", "--log-level=warn"),
            *("--auto-compaction-mode=periodic", "--auto-compaction-retention=1h"),
        ]
        for prefix in ("", "peer-"):
            flags += [
                f"--{prefix}client-cert-auth",
                f"--{prefix}trusted-ca-file={self.pki.certificate('etcd-ca')}",
                f"--{prefix}cert-file={self.pki.certificate('etcd')}",
                f"--{prefix}key-file={self.pki.key('etcd')}",
            ]
        return flags

    def _apiserver(self) -> list[str]:
        pki = self.pki
        flags = [
            f"--etcd-servers={self._etcd_url('etcd')}",
            f"--etcd-cafile={pki.certificate('etcd-ca')}",
            f"--etcd-certfile={pki.certificate('etcd-client')}",
            f"--etcd-keyfile={pki.key('etcd-client')}",
            *(f"--bind-address={self.address}", f"--advertise-address={self.address}"),
            f"--secure-port={self._port(APISERVER)}",
            *self._serving(),
            f"--client-ca-file={pki.certificate('ca')}",
            f"--kubelet-client-certificate={pki.certificate('apiserver-kubelet')}",
            f"--kubelet-client-key={pki.key('apiserver-kubelet')}",
            f"--kubelet-certificate-authority={pki.certificate('ca')}",
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki.directory / 'service-account.pub'}",
            f"--service-account-signing-key-file={pki.key('service-account')}",
            f"--service-cluster-ip-range={self.options.service_cidr}",
            *("--allow-privileged=true", "--profiling=false"),
        ]
        if not self.options.controller_manager:
            # Nobody makes the "default" service accounts without which no pod is admitted.
            flags.append("--disable-admission-plugins=ServiceAccount")
        if self.address == _LOOPBACK:
            # A loopback address is not accepted in the endpoints of kubernetes.default.
            flags.append("--endpoint-reconciler-type=none")
        return [*flags, *self.options.apiserver_flags]

    def _controller_manager(self) -> list[str]:
        return [
            *self._as_client(CONTROLLER_MANAGER),
            *("--use-service-account-credentials", "--allocate-node-cidrs=false"),
            f"--service-account-private-key-file={self.pki.key('service-account')}",
            f"--root-ca-file={self.pki.certificate('ca')}",
            *self.options.controller_manager_flags,
        ]

    def _scheduler(self) -> list[str]:
        return self._as_client(SCHEDULER)

    def _as_client(self, name: str) -> list[str]:
        kubeconfig = self._kubeconfig_of(name)
        return [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            *("--leader-elect=false", "--profiling=false"),
            *(f"--bind-address={self.address}", f"--secure-port={self._port(name)}"),
            *self._serving(),
        ]

    def _serving(self) -> list[str]:
        return [
            f"--tls-cert-file={self.pki.certificate('apiserver')}",
            f"--tls-private-key-file={self.pki.key('apiserver')}",
        ]


def without_proxy(networks: Sequence[str]) -> dict[str, str]:
    """This process's environment, in which a proxy, if one is set, is not used for networks."""
    known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    exempt = ",".join(dict.fromkeys([*filter(None, known.split(",")), *networks]))
    return {**os.environ, "NO_PROXY": exempt, "no_proxy": exempt}
