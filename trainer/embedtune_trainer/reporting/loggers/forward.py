"""From the run to a tool: nothing that the tool does can hold up or end the training."""

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from embedtune_trainer.progress import OF_THE_STEP

log = logging.getLogger("embedtune")

WAITING: Final = 10_000
"""Most points that wait for a slow tool; later ones are dropped."""
AT_ONCE: Final = 100
"""Most points that are sent together."""
CLOSE_WITHIN_S: Final = 60.0


@dataclass(frozen=True)
class Point:
    """Values by name, after so many steps.

    Attributes:
        step: how many are done.
        at: when, seconds since 1970.
        values: train/loss and the like, evaluation/ndcg_at_10 and the like.
    """

    step: int
    at: float
    values: Mapping[str, float]


class Tool(Protocol):
    """Where points go. Both methods may take long, and fail with whatever error."""

    def send(self, points: Sequence[Point]) -> None:
        """Some points, in the steps' order."""

    def close(self, failed: bool) -> None:
        """The run is over."""


class Forwarder:
    """A Reporter that hands everything on. At the tool's first error it gives the tool up."""

    def __init__(self, field: str, tool: Tool) -> None:
        """`field` of the spec is what warnings name."""
        self._field = field
        self._tool = tool
        self._points: queue.Queue[Point | None] = queue.Queue(WAITING)
        self._dropped = 0
        self._failed = False
        self._thread = threading.Thread(target=self._work, name=field, daemon=True)
        self._thread.start()

    def phase(self, name: str) -> None:
        """See Reporter; a tool is told numbers alone."""

    def note(self, message: str, **facts: object) -> None:
        """See Reporter; a tool is told numbers alone."""

    def start(self, steps: int, epochs: int) -> None:
        """See Reporter; the job tells as much."""

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        """See Reporter."""
        told = {"loss": loss, "epoch": epoch, "rows": rows, "data_wait_s": data_wait_s}
        self._put(step, {f"train/{name}": value for name, value in told.items()})

    def measured(
        self,
        step: int,
        epoch: int,  # noqa: ARG002  a Reporter's
        metrics: Mapping[str, float],
    ) -> None:
        """See Reporter."""
        named = {
            f"{'train' if name in OF_THE_STEP else 'evaluation'}/{name}": value
            for name, value in metrics.items()
        }
        self._put(step, named)

    def close(self, failed: bool) -> None:
        """Send what waits, for CLOSE_WITHIN_S at most."""
        self._failed = failed
        deadline = time.monotonic() + CLOSE_WITHIN_S
        with suppress(queue.Full):
            self._points.put(None, timeout=CLOSE_WITHIN_S)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            log.warning("%s: the tool is too slow, the last points are lost", self._field)
        elif self._dropped:
            log.warning("%s: the tool was too slow, points=%d lost", self._field, self._dropped)

    def _put(self, step: int, values: Mapping[str, float]) -> None:
        try:
            self._points.put_nowait(Point(step, time.time(), values))
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        ended = False
        try:
            while (points := self._next()) is not None:
                self._tool.send(points)
            ended = True
            self._tool.close(self._failed)
        except Exception as error:
            log.warning("%s: %s; the run goes on without it", self._field, error)
        while not ended and self._next() is not None:
            pass  # what is put is taken, so that the end is seen

    def _next(self) -> list[Point] | None:
        """What waits, at least one point; None at the end."""
        first = self._points.get()
        if first is None:
            return None
        found = [first]
        while len(found) < AT_ONCE and not self._points.empty():
            point = self._points.get()
            if point is None:
                self._points.put(None)  # for the next call: there is room, one was just taken
                break
            found.append(point)
        return found
