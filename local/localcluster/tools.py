"""Builds the programs of the cluster from local/go once, and says where they are.

Each module's tools lie in a folder of the cache whose name holds a hash of everything that
decides what is built: go.mod, go.sum and the flags. Changing a version builds into a new folder;
nothing is built twice.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from localcluster.locks import locked
from localcluster.say import timed
from localcluster.toolchain import GO_DIR, cache_dir, go_command, go_env

_KUBERNETES_VERSION = "v1.34.4"
_COMPONENT = "k8s.io/component-base/version"
_STRIPPED = "-s -w"
_BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly")


@dataclass(frozen=True)
class Module:
    """One Go module of local/go.

    Attributes:
        name: its folder under local/go.
        packages: the main package of each tool.
        ldflags: what the linker is told.
    """

    name: str
    packages: dict[str, str]
    ldflags: str = _STRIPPED

    @property
    def directory(self) -> Path:
        """Where its go.mod is."""
        return GO_DIR / self.name

    def cache_key(self) -> str:
        """Twelve hex digits that change with anything that changes the binaries."""
        digest = hashlib.sha256()
        for part in (
            (self.directory / "go.mod").read_bytes(),
            (self.directory / "go.sum").read_bytes(),
            " ".join((*_BUILD_FLAGS, self.ldflags)).encode(),
        ):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()[:12]

    def built(self, tool_name: str) -> Path:
        """Where the tool is once it is built."""
        return cache_dir() / "tools" / f"{self.name}-{self.cache_key()}" / tool_name


def _kubernetes() -> Module:
    names = (
        *("kube-apiserver", "kubectl", "kube-controller-manager"),
        *("kube-scheduler", "kubelet", "kube-proxy"),
    )
    major, minor, _ = _KUBERNETES_VERSION.removeprefix("v").split(".")
    stamps = {"gitVersion": _KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor}
    return Module(
        "kubernetes",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in names},
        " ".join([_STRIPPED, *(f"-X {_COMPONENT}.{k}={v}" for k, v in stamps.items())]),
    )


# In the order in which a full build takes them.
MODULES = (
    Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    _kubernetes(),
    Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}),
    Module("coredns", {"coredns": "github.com/coredns/coredns"}),
    Module("minio", {"minio": "github.com/minio/minio"}),
    Module("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
    Module(
        "prometheus",
        {
            name: f"github.com/prometheus/prometheus/cmd/{name}"
            for name in ("prometheus", "promtool")
        },
    ),
    Module("kueue", {"kueue": "sigs.k8s.io/kueue/cmd/kueue"}),
    # What bench/scale.py compares the operator with.
    Module(
        "kubeflow-training",
        {"training-operator": "github.com/kubeflow/training-operator/cmd/training-operator.v1"},
    ),
    Module(
        "kubeflow-trainer",
        {
            "trainer-controller-manager": (
                "github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager"
            )
        },
    ),
    Module("kubeflow-jobset", {"jobset": "sigs.k8s.io/jobset"}),
)
_WHEN_NAMED = (
    *("kwok", "prometheus", "kueue"),
    *("kubeflow-training", "kubeflow-trainer", "kubeflow-jobset"),
)
"""Modules whose tools are built only when they are named."""
USUAL_TOOLS = tuple(name for m in MODULES if m.name not in _WHEN_NAMED for name in m.packages)


def owner(tool_name: str) -> Module:
    """The module that builds a tool."""
    for module in MODULES:
        if tool_name in module.packages:
            return module
    known = ", ".join(sorted(name for module in MODULES for name in module.packages))
    raise ValueError(f"no tool is called {tool_name!r}; there are {known}")


def tool(name: str) -> Path:
    """The path of a tool, which is built first if it isn't there.

    A KUBEBUILDER_ASSETS folder that holds the tool comes before the cache.
    """
    found = existing(name)
    if found is not None:
        return found
    module = owner(name)
    with _build_lock():
        path = module.built(name)
        if not path.exists():
            _compile(module, name, path)
        return path


def existing(name: str) -> Path | None:
    """The path of a tool that needs no building, or None."""
    module = owner(name)
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and os.access(Path(assets) / name, os.X_OK):
        return Path(assets) / name
    path = module.built(name)
    return path if path.exists() else None


def build(names: Iterable[str] = ()) -> dict[str, Path]:
    """Builds the named tools, or all that the cluster needs; gives their paths."""
    return {name: tool(name) for name in (tuple(names) or USUAL_TOOLS)}


def _compile(module: Module, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    log = target.parent / f"{name}.log"
    partial = target.with_name(f".{name}.{os.getpid()}")
    command: list[str | Path] = [go_command(), "build", *_BUILD_FLAGS, "-ldflags", module.ldflags]
    command += ["-o", partial, module.packages[name]]
    nice = shutil.which("nice")
    if nice:
        command = [nice, "-n", "5", *command]
    with timed(f"building {name}"), log.open("w") as output:
        done = subprocess.run(
            command,
            check=False,
            cwd=module.directory,
            env=go_env(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        partial.unlink(missing_ok=True)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"building {name} failed, see {log}:\n{tail}")
    partial.replace(target)
    log.unlink()


def _build_lock() -> AbstractContextManager[None]:
    """One build at a time on a machine: two would only slow each other down."""
    return locked(cache_dir() / "tools" / ".lock", "another build of the tools")
