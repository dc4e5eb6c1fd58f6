"""Our own containerd: configuration, start, images, and what a killed one leaves behind."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from localcluster import network, ociimage
from localcluster.config import Config
from localcluster.files import write_if_changed
from localcluster.host import cni_directory, static_busybox, which
from localcluster.mounts import unmount_below
from localcluster.processes import (
    Command,
    Identity,
    Supervisor,
    all_processes,
    command_line,
    descendants,
    end,
)
from localcluster.say import Lacking

NAME = "containerd"
BUSYBOX_IMAGE = "localhost/embedtune/busybox:local"

_NAMESPACE = "k8s.io"
_CNI_RESULTS = Path("/var/lib/cni/results")  # libcni's cache, whose place can't be chosen
_APPLETS = ("sh", "sleep", "wget", "nslookup", "cat", "ls", "nc", "id", "head", "tail", "dd")


class Containerd:
    """The container runtime of one state folder."""

    def __init__(self, config: Config, supervisor: Supervisor) -> None:
        self._config = config
        self._supervisor = supervisor
        self._state = config.node_dir / "containerd-state"

    def start(self) -> None:
        """Starts containerd, after clearing away what a killed one has left.

        Containers that are still alive are kept: containerd finds them again.
        """
        self._config.node_dir.mkdir(parents=True, exist_ok=True)
        changed = self._write_configuration()
        command = Command(NAME, [_program(), "--config", str(self._configuration_path)])
        if changed or not self._supervisor.runs_as_told(command):
            self._supervisor.stop(NAME)
            self.clear_leftovers()
        self._supervisor.start(command)
        deadline = time.monotonic() + 30
        while not self.answers():
            if time.monotonic() > deadline or not self._supervisor.running(NAME):
                raise RuntimeError(f"containerd does not answer; {self._supervisor.tail(NAME)}")
            time.sleep(0.1)
        self.ensure_image(
            BUSYBOX_IMAGE,
            {f"/bin/{name}": _busybox() for name in ("busybox", *_APPLETS)},
            {"Cmd": ["/bin/sleep", "2147483647"], "Env": ["PATH=/bin"], "User": "65534:65534"},
        )

    def answers(self) -> bool:
        """Whether containerd answers on its socket."""
        return self._config.containerd_socket.exists() and self._ctr("version").returncode == 0

    def stop(self) -> None:
        """Ends every container and containerd, and unmounts what they had mounted."""
        self._supervisor.stop(NAME)
        for shim in self._shims():
            _end_tree(shim)
        self.clear_leftovers()

    def clear_leftovers(self) -> None:
        """Ends shims that lost their folder; with no shim left, clears mounts and addresses."""
        tasks = self._state / "io.containerd.runtime.v2.task" / _NAMESPACE
        living = []
        for shim in self._shims():
            if (tasks / _flag(shim.pid, "-id")).is_dir():
                living.append(shim)
            else:
                _end_tree(shim)
        if not living:
            unmount_below(self._state)
            unmount_below(self._config.node_dir / NAME)
            shutil.rmtree(self._state, ignore_errors=True)
            shutil.rmtree(self._config.node_dir / "ipam", ignore_errors=True)
            for result in _CNI_RESULTS.glob(f"{network.NAME}-*"):
                result.unlink()

    def names(self) -> dict[str, str]:
        """The digest of each image's manifest, by the image's name."""
        rows = self._checked("images", "list").splitlines()[1:]
        return {cells[0]: cells[2] for row in rows if len(cells := row.split()) > 2}

    def ensure_image(self, name: str, files: Mapping[str, Path], config: Mapping[str, Any]) -> None:
        """Makes an image of a few programs, unless there is one of that name."""
        if name in self.names():
            return
        with tempfile.TemporaryDirectory(dir=self._config.node_dir) as scratch:
            image = ociimage.from_files(name, files, config, Path(scratch) / "layer.tar")
            self._import([image], ())

    def import_image(self, path: Path) -> list[str]:
        """Imports a docker-archive or OCI folder; what is there already isn't copied again.

        Returns:
            The names of the images in it.
        """
        try:
            with ociimage.opened(path) as images:
                have = self.names()
                new = [i for i in images if have.get(i.name) != i.manifest.digest]
                if new:
                    self._import(new, self._blobs())
                    self._forget_replaced()
                return [image.name for image in images]
        except ociimage.UnknownArchive:
            # Compressed layers, say: containerd's own importer takes more kinds, without thrift.
            told = self._checked("images", "import", str(path)).splitlines()
            return [line.split()[1] for line in told if line.startswith("unpacking ")]

    def _import(self, images: Collection[ociimage.Image], known: Collection[str]) -> None:
        with subprocess.Popen(
            [*self._prefix(), "images", "import", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as importing:
            assert importing.stdin is not None
            assert importing.stderr is not None
            try:
                ociimage.stream(images, known, importing.stdin)
                importing.stdin.close()
            except BrokenPipeError:
                pass  # its exit status and message say why
            told = importing.stderr.read().decode(errors="replace").strip()
        if importing.returncode:
            raise RuntimeError(f"containerd refused {[i.name for i in images]}: {told}")

    def _forget_replaced(self) -> None:
        """Lets go of what a name stood for before, so that its content is freed.

        The CRI plugin remembers each image by its config's digest as well.
        """
        names = self.names()
        in_use = {digest for name, digest in names.items() if not name.startswith("sha256:")}
        replaced = [name for name, digest in names.items() if digest not in in_use]
        if replaced:
            self._checked("images", "remove", *replaced)

    def _blobs(self) -> set[str]:
        return set(self._checked("content", "list", "--quiet").split())

    def _prefix(self) -> list[str]:
        ctr = which("ctr")
        if ctr is None:
            raise Lacking("ctr is missing; on Debian: apt-get install containerd")
        return [ctr, "--address", str(self._config.containerd_socket), "-n", _NAMESPACE]

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._prefix(), *arguments], check=False, capture_output=True, text=True
        )

    def _checked(self, *arguments: str) -> str:
        done = self._ctr(*arguments)
        if done.returncode:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _shims(self) -> list[Identity]:
        """The shims that report to our socket, whoever started them."""
        ours = str(self._config.containerd_socket)
        return [
            process
            for process in all_processes()
            if process.program.startswith("containerd-shim")
            and _flag(process.pid, "-address") == ours
        ]

    @property
    def _configuration_path(self) -> Path:
        return self._config.node_dir / "containerd.toml"

    def _write_configuration(self) -> bool:
        cni = self._config.node_dir / "cni" / "10-embedtune.conflist"
        changed = write_if_changed(cni, network.cni_configuration(self._config))
        return write_if_changed(self._configuration_path, configuration(self._config)) or changed


def configuration(config: Config) -> str:
    """The configuration file, for containerd 1.6 and later.

    restrict_oom_score_adj is for machines without CAP_SYS_RESOURCE, where runc could not lower a
    sandbox's score and would fail.
    """
    node = config.node_dir
    return f"""version = 2
root = "{node}/containerd"
state = "{node}/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{config.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{BUSYBOX_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "{node}/containerd-state/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_directory()}"
    conf_dir = "{node}/cni"
"""


def _program() -> str:
    program = which("containerd")
    if program is None:
        raise Lacking("containerd is missing; on Debian: apt-get install containerd")
    return program


def _busybox() -> Path:
    found = static_busybox()
    if found is None:
        raise Lacking("a static busybox is missing; on Debian: apt-get install busybox-static")
    return found


def _flag(pid: int, name: str) -> str:
    """The value of a flag on a process's command line, or ""."""
    words = command_line(pid)
    return words[words.index(name) + 1] if name in words[:-1] else ""


def _end_tree(shim: Identity) -> None:
    for process in descendants(shim.pid):
        end(process, grace_s=0)
    end(shim, grace_s=0)
