"""A queue of keys to reconcile: each is worked on by one worker at a time, and never forgotten.

Keys that are added while they wait are one; keys that are added while they are worked on come once
more after that. What is urgent has most of the workers, and what can wait has few of its own: it is
never left out, and while there is more to do than can be done it gathers, and is done once for all
that has been added meanwhile. A key whose work failed comes back after a delay that doubles, with
jitter so that what failed together does not return together.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from enum import IntEnum
from itertools import count

Work = Callable[[str], Awaitable[float | None]]
"""Works on a key; returns after how many seconds it wants to come again, if at all."""


class Urgency(IntEnum):
    """Which keys come before which others; what can wait has workers of its own."""

    FIRST = 0
    SOON = 1
    CAN_WAIT = 2


Lane = asyncio.PriorityQueue[tuple[Urgency, int, str]]


class RetryLater(Exception):
    """Raised by work that failed and knows how long to wait at least."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class WorkQueue:
    """See the module."""

    def __init__(
        self,
        work: Work,
        *,
        urgency: Callable[[str], Urgency] = lambda _key: Urgency.FIRST,
        first_delay_s: float = 0.1,
        longest_delay_s: float = 60.0,
        jitter: Callable[[], float] = random.random,
        on_error: Callable[[str, Exception], None] = lambda _key, _error: None,
    ) -> None:
        self._work = work
        self._urgency = urgency
        self._first_delay_s = first_delay_s
        self._longest_delay_s = longest_delay_s
        self._jitter = jitter
        self._on_error = on_error
        self._urgent = Lane()
        self._patient = Lane()
        self._added = count()
        self._dirty: dict[str, Urgency] = {}
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._open = asyncio.Event()

    def __len__(self) -> int:
        return len(self._dirty)

    def open(self) -> None:
        """Let work begin; before this, keys only gather."""
        self._open.set()

    def close(self) -> None:
        """Let no more work begin, until it is opened again; keys gather."""
        self._open.clear()

    def add(self, key: str) -> None:
        """Have the key worked on; one that waits already can only become more urgent."""
        urgency = self._urgency(key)
        if urgency >= self._dirty.get(key, len(Urgency)):
            return
        self._dirty[key] = urgency
        if key not in self._busy:
            self._put(key)

    def _put(self, key: str) -> None:
        urgency = self._dirty[key]
        lane = self._patient if urgency is Urgency.CAN_WAIT else self._urgent
        lane.put_nowait((urgency, next(self._added), key))

    def add_after(self, key: str, delay_s: float) -> None:
        """Have the key worked on after a delay; of several delays the earliest counts."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._fire, key)

    def forget(self, key: str) -> None:
        """The key's object is gone."""
        self._failures.pop(key, None)
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def _fire(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def run(self, urgent: int, patient: int) -> None:
        """Work until cancelled, with so many workers for what is urgent and for what can wait."""
        async with asyncio.TaskGroup() as group:
            for lane, workers in ((self._urgent, urgent), (self._patient, patient)):
                for _ in range(workers):
                    group.create_task(self._worker(lane))

    async def drain(self, timeout_s: float) -> None:
        """Take no more work and let what has begun end."""
        self.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._busy:
                    await asyncio.sleep(0.02)

    async def _worker(self, lane: Lane) -> None:
        while True:
            _, _, key = await lane.get()
            await self._open.wait()
            if key in self._busy or self._dirty.pop(key, None) is None:
                continue  # it became more urgent than it was here, and has been begun by that
            self._busy.add(key)
            try:
                await self._one(key)
            finally:
                self._busy.discard(key)
                if key in self._dirty:
                    self._put(key)

    async def _one(self, key: str) -> None:
        try:
            again_after_s = await self._work(key)
        except Exception as error:
            self._on_error(key, error)
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(self._longest_delay_s, self._first_delay_s * 2 ** min(failures - 1, 30))
            delay *= 0.5 + self._jitter() / 2
            asked = error.after_s if isinstance(error, RetryLater) else None
            self.add_after(key, max(delay, asked or 0.0))
        else:
            self._failures.pop(key, None)
            if again_after_s is not None:
                self.add_after(key, again_after_s)
