"""What was released last: the newest tag of a version in this repository, and what it holds."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def newest_tag() -> str:
    """The newest tag of a version; "" before the first."""
    return _git("describe", "--tags", "--abbrev=0", "--match", "v*").decode().strip()


def file_of(ref: str, path: str) -> str:
    """The text of a file in a tag or commit; "" if it is not there."""
    return _git("show", f"{ref}:{path}").decode()


def archive_of(ref: str) -> bytes:
    """The whole tree of a tag or commit, as tar; b"" if there is no such."""
    return _git("archive", ref)


def _git(*words: str) -> bytes:
    """What git says; nothing where there is no repository, or no such thing in it."""
    command = ["git", "-C", str(ROOT), *words]
    try:
        return subprocess.run(command, check=False, capture_output=True).stdout
    except FileNotFoundError:
        return b""
