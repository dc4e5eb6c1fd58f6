"""docarray 0.21 and 0.41 in environments of their own, and files that they have written.

Both are made once, under the user's cache folder: environments by their lock, files by the script
that writes them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def python_with(version: str) -> Path:
    """The Python of an environment with that docarray: 0.21 or 0.41."""
    lock = HERE / "requirements" / f"docarray-{version}.txt"
    target = _cache() / f"docarray-{version}-{_digest(lock, sys.version)}"
    if not target.exists():
        scratch = Path(tempfile.mkdtemp(dir=_cache()))
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--python", sys.executable, scratch / "v"], check=True)
        install = [*uv, "pip", "install", "-q", "--require-hashes", "-r", lock]
        subprocess.run([*install, "--python", scratch / "v"], check=True)
        _publish(scratch, target)
    return target / "v" / "bin" / "python"


def files_of(version: str) -> Path:
    """The folder with what that docarray wrote."""
    script = HERE / f"write_docarray_{version.replace('.', '')}.py"
    lock = HERE / "requirements" / f"docarray-{version}.txt"
    target = _cache() / f"files-{version}-{_digest(script, lock.read_text())}"
    if not target.exists():
        scratch = Path(tempfile.mkdtemp(dir=_cache()))
        subprocess.run([python_with(version), script, scratch], check=True)
        _publish(scratch, target)
    return target


def _cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = base / "embedtune" / "venvs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest(file: Path, more: str) -> str:
    return hashlib.sha256(file.read_bytes() + more.encode()).hexdigest()[:12]


def _publish(made: Path, target: Path) -> None:
    """Put what is finished into its place at once, so that a killed run leaves no half of it."""
    try:
        made.rename(target)
    except OSError:
        if not target.exists():  # not made by a run beside this one
            raise
        shutil.rmtree(made)
