"""What the machine itself must offer: root, Linux, a few programs, a few kernel settings."""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from localcluster.locks import locked
from localcluster.processes import Identity, all_processes
from localcluster.say import Lacking, say, timed
from localcluster.toolchain import cache_dir

_PACKAGE_OF = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "iptables-restore": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "mount": "mount",
    "umount": "mount",
    "openssl": "openssl",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "debootstrap": "debootstrap",
}
NODE_COMMANDS = (
    *("containerd", "ctr", "runc", "iptables", "iptables-save", "iptables-restore"),
    *("conntrack", "ip", "mount", "umount", "openssl"),
)
_CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_CNI_PLUGINS = ("bridge", "host-local", "loopback")
_BUSYBOXES = (Path("/bin/busybox"), Path("/usr/bin/busybox"))
_APT_PATIENCE_S = 300
"""How long a package manager that someone else runs is waited for."""
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def require_root() -> None:
    """Raises Lacking where no kubelet can run."""
    if not sys.platform.startswith("linux"):
        raise Lacking(
            "the local cluster needs Linux; use your own cluster instead: "
            "make demo KUBECONTEXT=<context>"
        )
    if os.geteuid() != 0:
        raise Lacking(
            "the local cluster needs root (containers, network, cgroups): sudo make cluster-up\n"
            "or use your own cluster: make demo KUBECONTEXT=<context>"
        )


def refuse_second_node(ours: Collection[Identity | None]) -> None:
    """Raises Lacking where another Kubernetes runs on this machine itself.

    Two kube-proxies and two kubelets would undo each other's firewall rules and control groups.
    """
    for process in all_processes():
        is_node = process.program in ("kubelet", "kube-proxy", "k3s", "k0s")
        if is_node and process not in ours and _shares_network(process.pid):
            raise Lacking(
                f"another Kubernetes node runs on this machine ({process.program}, "
                f"pid {process.pid}); use that cluster: make demo KUBECONTEXT=<context>"
            )


def ensure_node_programs() -> None:
    """Makes sure that a node can run here, installing Debian packages where that is possible."""
    packages = missing_packages(NODE_COMMANDS)
    if cni_directory() is None:
        packages.append("containernetworking-plugins")
    if static_busybox() is None:
        packages.append("busybox-static")
    install(packages)


def ensure_commands(commands: Iterable[str]) -> None:
    """Makes sure that these commands are there, installing Debian packages if need be."""
    install(missing_packages(commands))


def missing_packages(commands: Iterable[str]) -> list[str]:
    """The Debian packages of those commands that can't be found."""
    return sorted({_PACKAGE_OF[name] for name in commands if which(name) is None})


def which(command: str) -> str | None:
    """The path of a command, looked for in the administrator's folders too."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *_SBIN))
    return shutil.which(command, path=path)


def install(packages: list[str]) -> None:
    """Installs Debian packages.

    Raises:
        Lacking: this is no Debian, or not root, or apt-get failed; says what to do by hand.
    """
    if not packages:
        return
    wanted = " ".join(packages)
    by_hand = f"apt-get update && apt-get install --no-install-recommends -y {wanted}"
    if not _is_debian():
        raise Lacking(f"missing: {wanted} (Debian's names; install your system's packages)")
    if os.geteuid() != 0:
        raise Lacking(f"missing: {wanted}; as root: {by_hand}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Images and cluster are prepared side by side, and apt-get refuses to run twice.
    turn = locked(cache_dir() / "apt.lock", "another installation of Debian packages")
    with turn, timed(f"installing Debian packages: {wanted}"):
        for arguments in (["update"], ["install", "--no-install-recommends", "-y", *packages]):
            done = subprocess.run(
                ["apt-get", "-q", "-o", f"DPkg::Lock::Timeout={_APT_PATIENCE_S}", *arguments],
                check=False,
                capture_output=True,
                text=True,
                env=environment,
            )
            if done.returncode and arguments[0] == "install":
                tail = done.stderr.strip()[-800:]
                raise Lacking(f"apt-get could not install {wanted}:\n{tail}\nby hand: {by_hand}")


def cni_directory() -> Path | None:
    """The folder of the CNI plugins."""
    for directory in _CNI_DIRECTORIES:
        if all((directory / plugin).exists() for plugin in _CNI_PLUGINS):
            return directory
    return None


def static_busybox() -> Path | None:
    """A busybox that needs no libraries, from which the sandbox image is made."""
    for path in _BUSYBOXES:
        if path.exists() and b"/ld-linux" not in path.read_bytes()[:4096]:
            return path
    return None


def upstream_resolvers() -> Path:
    """A resolv.conf that pods can use: where systemd's stub on loopback stands in /etc, its own."""
    real = Path("/run/systemd/resolve/resolv.conf")
    return real if real.exists() else Path("/etc/resolv.conf")


def prepare_kernel() -> None:
    """Loads the modules and sets what Kubernetes expects; raises limits, never lowers them."""
    modprobe = which("modprobe")
    if modprobe:
        for module in ("overlay", "br_netfilter", "nf_conntrack"):
            subprocess.run([modprobe, "-q", module], check=False, capture_output=True)
    for name, least in (
        ("net/ipv4/ip_forward", 1),
        ("net/bridge/bridge-nf-call-iptables", 1),
        ("fs/inotify/max_user_instances", 1024),
        ("fs/inotify/max_user_watches", 262_144),
    ):
        setting = Path("/proc/sys") / name
        if not setting.exists():
            continue
        if int(setting.read_text()) < least:
            try:
                setting.write_text(str(least))
            except OSError as error:
                say(f"could not set {name.replace('/', '.')}={least}: {error}")


def _shares_network(pid: int) -> bool:
    """Whether a process uses this one's network, which a node inside a container does not."""
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
    except OSError:
        return False


def _is_debian() -> bool:
    try:
        release = Path("/etc/os-release").read_text()
    except OSError:
        return False
    return "debian" in release and which("apt-get") is not None
