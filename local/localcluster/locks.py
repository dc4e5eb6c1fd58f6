"""Taking turns between processes: two `up`s, two builds."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster.say import say


@contextmanager
def locked(path: Path, other: str) -> Iterator[None]:
    """Holds a lock file, made if it is missing; says so while another process holds it.

    Args:
        path: the lock file; the kernel lets go of it when its process ends, however it ends.
        other: what is waited for, as in "waiting for {other} to end".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for {other} to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
