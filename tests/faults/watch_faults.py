"""What can be wrong with watches and lists: each fault changes what an operator is told, and when.

A fault is one object for the life of its proxy; what it does at random, it does from a seed.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

JsonObject = dict[str, Any]
DELAYS_S = {"pods": 2.5, "jobs": 1.2, "finetunejobs": 0.0}
AFTER = 2
"""Events that a watch brings before it breaks."""


class Broken(Exception):
    """The connection is reset here."""


class WatchFault:
    """Nothing is wrong."""

    name = "none"

    def __init__(self) -> None:
        self._random = random.Random(0)

    def read(self, path: str, query: str, payload: bytes) -> bytes:
        """What is answered to a get or a list."""
        return payload

    async def stream(self, plural: str, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        """What of a watch's lines is delivered, and when."""
        async for line in source:
            yield line


AS_IT_IS = WatchFault()


class Dropped(WatchFault):
    """A third of the events never arrive."""

    name = "a third of the events dropped"

    async def stream(self, plural: str, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        async for line in source:
            if self._random.random() > 0.33:
                yield line


class Repeated(WatchFault):
    """After each event, another of the last ten comes again."""

    name = "old events repeated"

    async def stream(self, plural: str, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        past: list[bytes] = []
        async for line in source:
            yield line
            past = [*past[-9:], line]
            yield self._random.choice(past)


class Delayed(WatchFault):
    """Pods are told of 2.5 s late, Jobs 1.2 s, FineTuneJobs at once: in a wrong order, that is."""

    name = "delayed, in a wrong order"

    async def stream(self, plural: str, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        reader = asyncio.create_task(self._read_all(source, queue))
        try:
            while True:
                came, line = await queue.get()
                await asyncio.sleep(max(0.0, came + DELAYS_S[plural] - loop.time()))
                if line is None:
                    return
                yield line
        finally:
            reader.cancel()

    async def _read_all(
        self, source: aiohttp.StreamReader, queue: "asyncio.Queue[tuple[float, bytes | None]]"
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for line in source:
                queue.put_nowait((loop.time(), line))
        finally:
            queue.put_nowait((loop.time(), None))


class Collapsed(Delayed):
    """Of all that happens to an object in 1.5 s, the last is told."""

    name = "collapsed"
    every_s = 1.5

    async def stream(self, plural: str, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        reader = asyncio.create_task(self._read_all(source, queue))
        try:
            over = False
            while not over:
                await asyncio.sleep(self.every_s)
                latest: dict[str, bytes] = {}
                while not queue.empty():
                    line = queue.get_nowait()[1]
                    over = over or line is None
                    if line is not None:
                        uid = json.loads(line)["object"]["metadata"].get("uid", "bookmark")
                        latest.pop(uid, None)
                        latest[uid] = line
                for line in latest.values():
                    yield line
        finally:
            reader.cancel()


class Breaking(WatchFault):
    """Each watch is as it should be for AFTER events."""

    async def stream(self, plural: str, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        for _ in range(AFTER):
            line = await source.readline()
            if not line:
                return
            yield line
        async for line in self.broken(source):
            yield line

    def broken(self, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        """What is delivered from then on."""
        raise NotImplementedError


class Gone(Breaking):
    """Each watch ends with 410 after a few events."""

    name = "ended with 410 Gone"

    async def broken(self, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": 410}
        status |= {"status": "Failure", "reason": "Expired", "message": "too old"}
        yield json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


class Cut(Breaking):
    """Each watch is reset in the middle of a line after a few events."""

    name = "reset in mid-line"

    async def broken(self, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        line = await source.readline()
        yield line[: len(line) // 2]
        raise Broken


class Stalled(Breaking):
    """Each watch falls silent after a few events, and is never closed."""

    name = "stalled silently"

    async def broken(self, source: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        async for line in source:
            await asyncio.sleep(60)
            yield line


class Stale(Gone):
    """Every other list is the one before it; and watches end with 410, so that it is listed."""

    name = "lists of a while ago"

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], bytes] = {}
        self._asked: dict[tuple[str, str], int] = {}

    def read(self, path: str, query: str, payload: bytes) -> bytes:
        if "items" not in json.loads(payload):
            return payload
        key = (path, query)
        asked = self._asked[key] = self._asked.get(key, 0) + 1
        if asked % 2 == 0:
            return self._last[key]
        self._last[key] = payload
        return payload


WATCH_FAULTS: tuple[type[WatchFault], ...] = (
    Dropped,
    Repeated,
    Delayed,
    Collapsed,
    Gone,
    Cut,
    Stalled,
    Stale,
)
