"""Processor time and memory of processes, from /proc."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.5


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has taken, in user and kernel mode."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def rss_mib(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def busy_s() -> float:
    """Seconds of processor time that the whole machine has spent, other than idle."""
    fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) * _TICK_S


class Usage:
    """What a stage took of the machine; a context manager.

    Attributes:
        cpu_s: processor seconds, by process.
        peak_mib: the most resident memory that was seen, by process.
        others_s: processor seconds of all other processes.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self.cpu_s: dict[str, float] = {}
        self.peak_mib = dict.fromkeys(self._pids, 0.0)
        self.others_s = 0.0

    async def __aenter__(self) -> "Usage":
        self._busy = busy_s()
        self._begin = {name: cpu_s(pid) for name, pid in self._pids.items()}
        self._sampler = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sampler.cancel()
        await asyncio.gather(self._sampler, return_exceptions=True)
        self._look()
        self.cpu_s = {name: cpu_s(pid) - self._begin[name] for name, pid in self._pids.items()}
        self.others_s = max(0.0, busy_s() - self._busy - sum(self.cpu_s.values()))

    async def _sample(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(SAMPLE_S)

    def _look(self) -> None:
        for name, pid in self._pids.items():
            self.peak_mib[name] = max(self.peak_mib[name], rss_mib(pid))
