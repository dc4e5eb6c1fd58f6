"""Starts observer.py for a cluster and takes its sightings in."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict

from scale_parts.plane import PYTHONPATH, Cluster
from scale_parts.sightings import FINISHED, GONE, JOB, MADE, Sighting, Sightings

POLL_S = 0.2


class Watching:
    """The observer's process and what it has seen; a context manager.

    Attributes:
        sightings: what was seen so far.
        pid: of the observer.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.sightings = Sightings()
        self.pid = 0
        self._cluster = cluster
        self._kinds: set[str] = set()

    async def __aenter__(self) -> "Watching":
        plane, system = self._cluster.plane, self._cluster.system
        argument = {
            "url": plane.url,
            "authority": str(plane.pki.certificate("ca")),
            "certificate": str(plane.pki.certificate("admin")),
            "key": str(plane.pki.key("admin")),
            "kinds": [asdict(kind) for kind in system.kinds],
        }
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scale_parts.observer", json.dumps(argument)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
        )
        self.pid = self._process.pid
        self._reading = asyncio.create_task(self._read())
        if not await self._until(lambda: len(self._kinds) == len(system.kinds), 30):
            raise RuntimeError("the observer does not watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()

    async def finished(self, jobs: Iterable[str], timeout_s: float) -> bool:
        """Wait until all of these are seen finished, or their last child; whether they are."""
        system = self._cluster.system
        if system.ends:
            return await self._all(jobs, JOB, FINISHED, timeout_s)
        return await self._all(jobs, system.kinds[-1].role, MADE, timeout_s)

    async def gone(self, jobs: Iterable[str], timeout_s: float) -> bool:
        """Wait until all of these are seen deleted; whether they are."""
        return await self._all(jobs, JOB, GONE, timeout_s)

    async def _all(self, jobs: Iterable[str], role: str, state: str, timeout_s: float) -> bool:
        left = set(jobs)

        def done() -> bool:
            left.difference_update([j for j in left if self.sightings.has(j, role, state)])
            return not left

        return await self._until(done, timeout_s)

    async def _until(self, look: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not look():
            if self._reading.done():
                raise RuntimeError("the observer has ended; its message is above")
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if "watching" in told:
                self._kinds.add(told["watching"])
            else:
                self.sightings.note(Sighting(**told))
