"""buildah's images and the OCI layout they are copied to, in folders of our own.

buildah keeps images in a storage that only its kind understands. The layout beside it holds each
layer as one uncompressed file named by its digest, which is how containerd keeps it too: copying
writes only the layers that are new, and importing sends only those.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from localcluster import host
from localcluster.locks import locked
from localcluster.say import Lacking, timed
from localcluster.toolchain import cache_dir

_REF_NAME = "org.opencontainers.image.ref.name"
_KEPT_TAGS = 3
_FUSE = "/usr/bin/fuse-overlayfs"
# Where containerd keeps blobs, below its root.
_CONTENT = Path("io.containerd.content.v1.content/blobs")


@dataclass(frozen=True)
class ImageStore:
    """Where images are built and kept.

    Attributes:
        folder: everything lies below it, apart from what must not survive a reboot.
    """

    folder: Path

    @property
    def layout(self) -> Path:
        """The OCI layout that `export` writes."""
        return self.folder / "layout"

    @cached_property
    def _run_folder(self) -> Path:
        """Records of mounts, which a reboot ends: below /run, so that it ends the records too."""
        return Path("/run/embedtune-images") / sha256(bytes(self.folder)).hexdigest()[:12]

    @cached_property
    def _driver(self) -> tuple[str, ...]:
        """The storage driver and its options: an overlay, as others copy 5 GB at every step."""
        choices: list[tuple[str, ...]] = [("overlay",)]
        if Path(_FUSE).exists():
            choices.append(("overlay", f"overlay.mount_program={_FUSE}"))
        for choice in choices:
            command = self._buildah(choice, ("info",))
            if not subprocess.run(command, check=False, capture_output=True).returncode:
                return choice
        raise Lacking(
            f"no overlay filesystem can be made below {self.folder}; install fuse-overlayfs "
            "(apt-get install fuse-overlayfs), or set XDG_CACHE_HOME to a folder on ext4 or xfs"
        )

    def _buildah(self, driver: Sequence[str], arguments: Sequence[str]) -> list[str]:
        name, *options = driver
        command = ["buildah", "--root", str(self.folder / "storage")]
        command += ["--runroot", str(self._run_folder), "--storage-driver", name]
        return [*command, *(f"--storage-opt={option}" for option in options), *arguments]

    def buildah(self, *arguments: str, cwd: Path | None = None, log: Path | None = None) -> str:
        """Runs buildah and gives its stdout, or writes all its output to a log.

        Raises:
            RuntimeError: it failed; with the end of what it said.
        """
        return self._run(self._buildah(self._driver, arguments), cwd, log)

    def has(self, image: str) -> bool:
        """Whether an image of this name has been built."""
        return image in self._names()

    def _names(self) -> list[str]:
        """The names of all images, the latest first."""
        listed = json.loads(self.buildah("images", "--json"))
        listed.sort(key=lambda entry: str(entry["createdatraw"]), reverse=True)
        return [name for entry in listed for name in entry.get("names") or ()]

    def export(self, image: str) -> None:
        """Copies an image to the layout, where it replaces the one of the same name."""
        target = f"oci:{self.layout}:{image}"
        self._skopeo("--dest-oci-accept-uncompressed-layers", self._reference(image), target)
        self._prune_layout()

    def push(self, image: str, target: str) -> None:
        """Copies an image to a registry, layers that it has already excepted.

        Signing in is skopeo's business: `skopeo login`, or docker's or podman's own file. A
        registry on this machine may speak plain HTTP.
        """
        is_local = target.partition("/")[0].partition(":")[0] in ("localhost", "127.0.0.1")
        flags = ("--dest-tls-verify=false",) if is_local else ()
        with timed(f"pushing {target}"):
            self._skopeo(*flags, self._reference(image), f"docker://{target}")

    def prune(self, *built: str) -> None:
        """Removes what is not needed any more.

        Args:
            built: images just built; of those that differ in their tag alone the latest stay.
        """
        names = self._names()
        for image in built:
            alike = [n for n in names if n.startswith(f"{image.rpartition(':')[0]}:")]
            for old in [n for n in alike if n != image][_KEPT_TAGS:]:
                self.buildah("rmi", old)
        self.buildah("rmi", "--prune")

    def share_with(self, containerd_root: Path) -> None:
        """Makes the layout's layers and containerd's copies of them the same files.

        Both are read-only and named by their content, so one of the two 5 GB suffices; where
        they lie on different disks they stay two.
        """
        for ours in self.layout.glob("blobs/sha256/*"):
            theirs = containerd_root / _CONTENT / "sha256" / ours.name
            if not theirs.exists() or theirs.samefile(ours):
                continue
            if theirs.stat().st_dev == ours.stat().st_dev:
                twin = ours.with_name(f".{ours.name}")
                twin.unlink(missing_ok=True)
                os.link(theirs, twin)
                twin.replace(ours)

    def _reference(self, image: str) -> str:
        name, *options = self._driver
        where = f"{name}@{self.folder / 'storage'}+{self._run_folder}"
        return f"containers-storage:[{':'.join((where, *options))}]{image}"

    def _skopeo(self, *arguments: str) -> None:
        self._run(["skopeo", "copy", "--quiet", "--insecure-policy", *arguments], None, None)

    def _run(self, command: Sequence[str], cwd: Path | None, log: Path | None) -> str:
        scratch = self.folder / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env={**os.environ, "TMPDIR": str(scratch)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if log is None else subprocess.STDOUT,
            text=True,
        )
        if log is not None:
            log.write_text(done.stdout)
        if done.returncode:
            said = done.stdout if log else done.stderr
            tail = "\n".join(said.splitlines()[-20:])
            raise RuntimeError(f"{command[0]} failed{f', see {log}' if log else ''}:\n{tail}")
        return done.stdout

    def _prune_layout(self) -> None:
        """Removes images that buildah has no more under their name, and blobs of none."""
        names = self._names()
        index_file = self.layout / "index.json"
        index = json.loads(index_file.read_text())
        index["manifests"] = [
            entry
            for entry in index["manifests"]
            if entry.get("annotations", {}).get(_REF_NAME) in names
        ]
        index_file.write_text(json.dumps(index))
        blobs = self.layout / "blobs" / "sha256"
        needed = {entry["digest"] for entry in index["manifests"]}
        for digest in list(needed):
            manifest = json.loads((blobs / digest.removeprefix("sha256:")).read_text())
            needed |= {part["digest"] for part in (manifest["config"], *manifest["layers"])}
        for blob in blobs.iterdir():
            if f"sha256:{blob.name}" not in needed:
                blob.unlink()


@contextmanager
def opened() -> Iterator[ImageStore]:
    """The user's image store, locked: builds take turns.

    Raises:
        Lacking: not root, or a program is missing and can't be installed.
    """
    if os.geteuid() != 0:
        raise Lacking(
            "building images with buildah needs root: sudo make images\n"
            "or with Docker: docker build -f trainer/Dockerfile -t REGISTRY/trainer:TAG ."
        )
    host.ensure_commands(("buildah", "skopeo", "debootstrap"))
    folder = cache_dir() / "images"
    with locked(folder / ".lock", "another build of images"):
        yield ImageStore(folder)
