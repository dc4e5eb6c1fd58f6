"""Builds the images of the operator and the trainer, and puts them where a cluster finds them.

    python -m localcluster.images [build|load|base] [--only operator|trainer] [--tag dev]
                                  [--base IMAGE] [--push REGISTRY]

The Dockerfiles are those that Docker builds too. What differs is where packages come from: this
machine's uv fills its cache first, with whatever index and certificates it is set up for, and the
build then reads that cache and no network. So the torch that .venv was made of is not downloaded
again, and nothing of this machine's settings can end up in a layer.

Images go to a local cluster layer by layer (see imagestore): after a change of the code, the new
code layer alone. Nothing is rebuilt for a file that was only touched.
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from localcluster import baseimage, imagestore
from localcluster.config import Config
from localcluster.imagestore import ImageStore
from localcluster.say import Lacking, say, timed

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("operator", "trainer")
TAG = "dev"
_REPOSITORY = "localhost/embedtune"
_PYTHON = "3.11"
_GLIBC = "manylinux_2_36"
# Empty folders of every Debian image; what is mounted there leaves no trace in a layer.
_UV_CACHE, _WHEELS = "/mnt", "/media"


def build(names: Collection[str] = NAMES, tag: str = TAG, base: str | None = None) -> None:
    """Builds images; with layers that are still right, in seconds.

    Args:
        names: operator, trainer or both.
        tag: what follows the colon in their names.
        base: the image that they stand on. Default: Debian by debootstrap.

    Raises:
        Lacking: this machine lacks something; the message names the command that mends it.
        RuntimeError: a build failed; the message ends with its log.
    """
    with imagestore.opened() as store:
        _build(store, names, tag, base)


def load(names: Collection[str] = NAMES, tag: str = TAG, base: str | None = None) -> None:
    """Builds images and brings them to the running local cluster, which gets what is new alone."""
    from localcluster import cluster

    with imagestore.opened() as store:
        _build(store, names, tag, base)
        for name in names:
            store.export(image_name(name, tag))
        with timed("importing images"):
            cluster.import_image(store.layout)
        store.share_with(Config().node_dir / "containerd")


def push(
    registry: str, names: Collection[str] = NAMES, tag: str = TAG, base: str | None = None
) -> None:
    """Builds images and pushes them as REGISTRY/operator:TAG and REGISTRY/trainer:TAG."""
    with imagestore.opened() as store:
        _build(store, names, tag, base)
        for name in names:
            store.push(image_name(name, tag), f"{registry.rstrip('/')}/{name}:{tag}")


def image_name(name: str, tag: str = TAG) -> str:
    """The full name of an image on this machine."""
    return f"{_REPOSITORY}/{name}:{tag}"


def _build(store: ImageStore, names: Collection[str], tag: str, base: str | None) -> None:
    base = base or baseimage.ensure(store)
    wheels = _uv_wheel(store.folder)
    with tempfile.NamedTemporaryFile("w", dir=store.folder) as variables:
        variables.write(_build_environment())
        variables.flush()
        for name in names:
            with timed(f"building the {name} image"):
                cache = _fill_uv_cache(ROOT / "requirements" / f"{name}.txt")
                _bud(
                    *(store, name, tag),
                    f"--build-arg=BASE_IMAGE={base}",
                    f"--secret=id=build-env,src={variables.name}",
                    f"--volume={cache}:{_UV_CACHE}",
                    f"--volume={wheels}:{_WHEELS}:ro",
                )
    store.prune(*(image_name(name, tag) for name in names))


def _bud(store: ImageStore, name: str, tag: str, *flags: str) -> None:
    store.buildah(
        *("bud", "--isolation=chroot", "--layers", f"--build-arg=VERSION={tag}", *flags),
        *("--file", f"{name}/Dockerfile", "--tag", image_name(name, tag), "."),
        cwd=ROOT,
        log=store.folder / f"{name}.log",
    )


def _build_environment() -> str:
    """What the Dockerfiles source: where uv finds everything, and under which index's name."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("UV_INDEX")}
    for name in ("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"):
        if name in os.environ:
            variables[name] = os.environ[name]
    variables |= {
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": _UV_CACHE,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": _WHEELS,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())


def _uv_wheel(folder: Path) -> Path:
    """A folder with the locked wheel of uv, by which the images' packages are installed."""
    lock = ROOT / "requirements" / "bootstrap.txt"
    wheels = folder / "wheels"
    stamp = wheels / "lock.txt"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", str(wheels), "-r", str(lock)]
        with timed("downloading uv"):
            subprocess.run(command, check=True)
        stamp.write_bytes(lock.read_bytes())
    return wheels


def _fill_uv_cache(lock: Path) -> str:
    """Has uv's cache hold every locked package, for the images' Python; gives its folder.

    Installing into a folder that is thrown away does it; where all is there, in a second, as
    that makes hard links.
    """
    uv = [sys.executable, "-m", "uv"]
    found = subprocess.run([*uv, "cache", "dir"], check=True, capture_output=True, text=True)
    cache = found.stdout.strip()
    Path(cache).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        command = [*uv, "pip", "sync", "--quiet", "--require-hashes", "--target", scratch]
        command += ["--only-binary=:all:", f"--python-version={_PYTHON}"]
        command += [f"--python-platform={platform.machine()}-{_GLIBC}", str(lock)]
        subprocess.run(command, check=True)
    return cache


def main() -> int:
    """Runs the command line; 1 with a message if this machine lacks something."""
    parser = argparse.ArgumentParser(
        prog="python -m localcluster.images",
        description="Build the images with buildah; load them into the local cluster; push them.",
    )
    parser.add_argument("action", nargs="?", choices=("build", "load", "base"), default="build")
    parser.add_argument("--only", choices=NAMES, help="one of the images; default both")
    parser.add_argument("--tag", default=TAG, help=f"default {TAG}")
    parser.add_argument("--base", metavar="IMAGE", help="default: Debian 12, by debootstrap")
    parser.add_argument("--push", metavar="REGISTRY", help="push to REGISTRY/operator and /trainer")
    options = parser.parse_args()
    names = (options.only,) if options.only else NAMES
    try:
        if options.action == "base":
            with imagestore.opened() as store:
                print(baseimage.ensure(store))
        elif options.action == "load":
            load(names, options.tag, options.base)
        elif options.push:
            push(options.push, names, options.tag, options.base)
        else:
            build(names, options.tag, options.base)
            print("\n".join(image_name(name, options.tag) for name in names))
    except (Lacking, RuntimeError, subprocess.CalledProcessError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
