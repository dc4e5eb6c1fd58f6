"""The pulse of the watches, felt on the HTTP session that kopf watches through.

Every watch is renewed by the API server after `watch_timeout_s`, so a watch that has not been
answered for a few of these is dead, whether the connection hangs, is refused or was never made.
A listing by kopf after the first one means that events may be lost: then `on_gap` is called.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Watched:
    """One kind of object in one namespace, or in all."""

    kind: str
    api: str
    plural: str
    namespace: str | None
    selector: str

    @property
    def path(self) -> str:
        """The URL's path."""
        middle = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{self.api}{middle}/{self.plural}"


class Pulse:
    """When each watch was last answered."""

    def __init__(
        self,
        watched: Sequence[Watched],
        *,
        dead_after_s: float,
        on_gap: Callable[[Watched], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._watched = {w.path: w for w in watched}
        self._dead_after_s = dead_after_s
        self._on_gap = on_gap
        self._clock = clock
        self._started = clock()
        self._answered: dict[str, float] = {}
        self._listed: set[str] = set()

    def trace(self) -> aiohttp.TraceConfig:
        """The hook for the session."""
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._request_ended)
        return config

    async def _request_ended(
        self,
        _session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestEndParams,
    ) -> None:
        if context.trace_request_ctx is not None or params.response.status != 200:
            return
        watched = self._watched.get(params.url.path)
        if watched is None or params.method != "GET":
            return
        if "watch" in params.url.query:
            self._answered[watched.path] = self._clock()
        elif watched.path in self._listed:
            self._on_gap(watched)
        else:
            self._listed.add(watched.path)

    @property
    def overlooked(self) -> list[str]:
        """What was never listed, though something else was."""
        return [path for path in self._watched if path not in self._listed] if self._listed else []

    @property
    def synced(self) -> bool:
        """Whether every kind was listed and is watched."""
        return len(self._answered) == len(self._watched)

    def ages(self) -> dict[Watched, float]:
        """Seconds since each watch was answered, or since the start if never."""
        now = self._clock()
        return {
            w: now - self._answered.get(path, self._started) for path, w in self._watched.items()
        }

    def dead(self) -> list[str]:
        """What is not being watched any more."""
        return [
            f"{w.path} not answered for {age:.0f} s"
            for w, age in self.ages().items()
            if age > self._dead_after_s
        ]
