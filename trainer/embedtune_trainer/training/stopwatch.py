"""How long a training took, the attempts before this one counted."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun = clock()

    @property
    def seconds(self) -> float:
        """So far."""
        return self._clock() - self._begun

    @contextmanager
    def held(self) -> Iterator[None]:
        """It stands still within."""
        begun = self._clock()
        try:
            yield
        finally:
            self._begun += self._clock() - begun

    def state_dict(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from there."""
        self._begun = self._clock() - state["seconds"]
