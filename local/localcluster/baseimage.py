"""The base of the images where no registry can be reached: Debian with its Python, by debootstrap.

It stands in for python:3.11-slim-bookworm, which is Debian 12 with Python 3.11 too. Packages come
from the mirror that this machine's apt uses, and neither its address nor this machine's resolver
stays in the image.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from localcluster.imagestore import ImageStore
from localcluster.say import Lacking, timed

_SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "python3", "python3-venv")
_REMOVED = (
    *("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/man", "usr/share/locale"),
    *("etc/apt/sources.list", "etc/resolv.conf", "etc/hostname"),
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PUBLIC_MIRROR = "http://deb.debian.org/debian"
_MIRROR_LIST = "mirror+file:"


def ensure(store: ImageStore) -> str:
    """The name of the base image, which is made first if it isn't there."""
    recipe = repr((_SUITE, _PACKAGES, _REMOVED, _PATH))
    image = f"localhost/embedtune/base:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not store.has(image):
        with (
            timed(f"making the base image: Debian {_SUITE} with Python"),
            tempfile.TemporaryDirectory(dir=store.folder) as scratch,
        ):
            root = Path(scratch) / "root"
            _debootstrap(root, store.folder / "base.log")
            _strip(root)
            container = store.buildah("from", "scratch").strip()
            store.buildah("add", container, str(root), "/")
            store.buildah("config", "--env", f"PATH={_PATH}", "--cmd", "python3", container)
            store.buildah("commit", "--quiet", "--rm", container, image)
    return image


def debian_mirror() -> str:
    """The archive that this machine's apt takes Debian's packages from, else the public one.

    apt itself is asked, so that it makes no difference whether its sources are written in lines
    or in paragraphs.
    """
    if "ID=debian" not in Path("/etc/os-release").read_text().splitlines():
        return _PUBLIC_MIRROR
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]
    told = subprocess.run(
        [*command, "Created-By: Packages"], check=False, capture_output=True, text=True
    ).stdout
    for line in told.splitlines():
        uri, release, component = line.rsplit(maxsplit=2)
        if component != "main" or "-" in release:  # bookworm-security and -updates are additions
            continue
        if uri.startswith(_MIRROR_LIST):  # as in Debian's cloud images: a file with a URI a line
            mirrors = Path(uri.removeprefix(_MIRROR_LIST).rstrip("/")).read_text().split()
            uri = next((m for m in mirrors if m.startswith("http")), "")
        if uri.startswith(("http://", "https://")):
            return uri.rstrip("/")
    return _PUBLIC_MIRROR


def _debootstrap(root: Path, log: Path) -> None:
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
    with log.open("w") as output:
        done = subprocess.run(
            [*command, _SUITE, str(root), debian_mirror()],
            check=False,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise Lacking(
            f"debootstrap could not make a base image, see {log}:\n{tail}\n"
            "where a registry can be reached, give its image instead: "
            "python -m localcluster.images build --base python:3.11-slim-bookworm"
        )


def _strip(root: Path) -> None:
    """Removes what only this machine needs, and what nobody reads in a container."""
    for name in _REMOVED:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
            path.mkdir()
        else:
            path.unlink(missing_ok=True)
