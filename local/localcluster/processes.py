"""Processes that outlive the command that started them, recognised again beyond doubt.

A pid alone says nothing: after a crash or a reboot it may belong to someone else. A record holds
the boot's id, the process's start time and its program too, and a process is only ever signalled
when all of them still agree.
"""

import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Identity:
    """What tells a process from every other one that has had or will have its pid.

    Attributes:
        pid: its process id.
        start_ticks: field 22 of /proc/PID/stat, clock ticks since boot.
        boot_id: the kernel's id for this boot.
        program: the name of its executable file.
    """

    pid: int
    start_ticks: int
    boot_id: str
    program: str


@dataclass(frozen=True)
class Command:
    """A program to run.

    Attributes:
        name: what the component is called; its log and record are named after it.
        argv: the command line.
    """

    name: str
    argv: Sequence[str]


def identify(pid: int) -> Identity | None:
    """The identity of a live process, or None when there is none (or only a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        program = Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    after_name = stat[stat.rindex(")") + 2 :].split()
    if after_name[0] in "ZX":
        return None
    return Identity(pid, int(after_name[19]), boot_id, program)


class Supervisor:
    """Starts, finds and stops the processes of one state folder."""

    def __init__(
        self,
        run_dir: Path,
        log_dir: Path,
        *,
        die_with_parent: bool,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Takes the folders for records and logs.

        Args:
            run_dir: where the records lie.
            log_dir: where stdout and stderr go, one file per process.
            die_with_parent: whether the kernel kills what the calling thread started when that
                thread ends, as tests want; otherwise processes live on as daemons.
            environment: of the processes; this one's if left out.
        """
        self.run_dir = run_dir
        self.log_dir = log_dir
        self.die_with_parent = die_with_parent
        self.environment = dict(environment if environment is not None else os.environ)
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self.log_dir / f"{name}.log"

    def running(self, name: str) -> Identity | None:
        """The process of that name, if it is still the very one that was started."""
        recorded = self._recorded(name)
        return recorded[0] if recorded and self._is_alive(recorded[0]) else None

    def runs_as_told(self, command: Command) -> bool:
        """Whether the process of that name runs with exactly this command line."""
        recorded = self._recorded(command.name)
        return bool(recorded and self._is_alive(recorded[0]) and recorded[1] == list(command.argv))

    def start(self, command: Command) -> Identity:
        """Starts a process unless it runs already; one with another command line is replaced."""
        if self.runs_as_told(command):
            return self._record_of(command.name)
        self.stop(command.name)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        log = self.log(command.name)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            child = subprocess.Popen(
                list(command.argv),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
                preexec_fn=_die_with_parent if self.die_with_parent else None,  # noqa: PLW1509
            )
        self._children[child.pid] = child
        identity = identify(child.pid)
        if identity is None:
            raise RuntimeError(f"{command.name} ended at once: {self.tail(command.name)}")
        self._path(command.name).write_text(
            json.dumps({"identity": asdict(identity), "argv": list(command.argv)})
        )
        return identity

    def stop(self, name: str, *, grace_s: float = 15.0) -> bool:
        """Ends a process, kindly at first; says whether there was one. Forgets its record."""
        identity = self.running(name)
        if identity is not None:
            end(identity, grace_s=grace_s, reap=self._reap)
        self._path(name).unlink(missing_ok=True)
        return identity is not None

    def kill(self, name: str) -> bool:
        """Ends a process with SIGKILL, as a crash would, and leaves its record."""
        identity = self.running(name)
        if identity is None:
            return False
        end(identity, grace_s=0, reap=self._reap)
        return True

    def strays(self, programs: Collection[str], below: Path) -> list[Identity]:
        """Processes of these programs that name a file below a folder but have no record.

        They are what is left when a state folder was removed under a running cluster.
        """
        recorded = {self.running(name) for name in self.names()}
        found = []
        for identity in all_processes():
            if identity.program in programs and identity not in recorded:
                words = command_line(identity.pid)
                if any(f"{below}/" in word for word in words):
                    found.append(identity)
        return found

    def names(self) -> list[str]:
        """The names of all processes that have a record, alive or not."""
        return sorted(path.stem for path in self.run_dir.glob("*.json"))

    def tail(self, name: str, lines: int = 12) -> str:
        """The end of a process's log, for an error message."""
        log = self.log(name)
        if not log.exists():
            return "(no log)"
        with log.open("rb") as handle:
            handle.seek(max(0, log.stat().st_size - 16_384))
            text = handle.read().decode(errors="replace")
        return f"{log}:\n" + "\n".join(text.splitlines()[-lines:])

    def _path(self, name: str) -> Path:
        return self.run_dir / f"{name}.json"

    def _recorded(self, name: str) -> tuple[Identity, list[str]] | None:
        try:
            record = json.loads(self._path(name).read_text())
            return Identity(**record["identity"]), list(record["argv"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _record_of(self, name: str) -> Identity:
        recorded = self._recorded(name)
        if recorded is None:
            raise RuntimeError(f"the record of {name} in {self.run_dir} is gone")
        return recorded[0]

    def _is_alive(self, identity: Identity) -> bool:
        self._reap(identity.pid)
        return identify(identity.pid) == identity

    def _reap(self, pid: int) -> None:
        child = self._children.get(pid)
        if child is not None and child.poll() is not None:
            del self._children[pid]


def end(
    identity: Identity, *, grace_s: float, reap: Callable[[int], None] = lambda _: None
) -> None:
    """Ends exactly this process: SIGTERM, then SIGKILL when the grace period is over."""
    signals = [(signal.SIGTERM, grace_s)] if grace_s > 0 else []
    for number, patience_s in [*signals, (signal.SIGKILL, 5.0)]:
        if identify(identity.pid) != identity:
            return
        try:
            os.kill(identity.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            reap(identity.pid)
            if identify(identity.pid) != identity:
                return
            time.sleep(0.02)
    raise RuntimeError(f"{identity.program} (pid {identity.pid}) survives SIGKILL")


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def descendants(pid: int) -> list[Identity]:
    """Every process below one, parents before their children."""
    children: dict[int, list[int]] = {}
    for candidate in _pids():
        try:
            stat = Path(f"/proc/{candidate}/stat").read_text()
        except OSError:
            continue
        children.setdefault(int(stat[stat.rindex(")") + 2 :].split()[1]), []).append(candidate)
    found: list[Identity] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(0), [])
        waiting += below
        found += [identity for child in below if (identity := identify(child))]
    return found


def all_processes() -> list[Identity]:
    """Every process whose program can be seen."""
    return [identity for pid in _pids() if (identity := identify(pid))]


def command_line(pid: int) -> list[str]:
    """A process's arguments; none when it is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
    return words[:-1]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
