"""How a run says how far it is: to the operator, to a log, to a person at a terminal.

The run talks to one Reporter. `Pace` turns its steps into percent, rate and remaining time, the
same for all of them.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

log = logging.getLogger("embedtune")

WINDOW_S = 10.0
"""Seconds that the moving rate is taken over."""
LOG_EVERY_S = 2.0
OF_THE_STEP: Final = ("learning_rate", "gradient_norm")
"""What is measured in the training's steps, not in an evaluation."""


class Reporter(Protocol):
    """What a run reports to. No method fails, and none takes long."""

    def phase(self, name: str) -> None:
        """The run enters a phase, one of contract.PHASES."""

    def start(self, steps: int, epochs: int) -> None:
        """The training begins: optimizer steps and epochs in all."""

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        """A step is done.

        Args:
            step: how many are done now.
            epoch: the epoch that it was of, from 1.
            loss: the batch's.
            rows: the batch's.
            data_wait_s: seconds of the step in which the model waited for data.
        """

    def measured(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Something was measured after so many steps.

        Args:
            step: how many are done; 0 before the training.
            epoch: the epoch that the last of them was of, from 1; 0 before the training.
            metrics: by name: of an evaluation as in the spec (ndcg_at_10), of the training
                `learning_rate` and `gradient_norm`.
        """

    def note(self, message: str, **facts: object) -> None:
        """Something worth knowing, in one short sentence and facts."""


@dataclass(frozen=True)
class Reading:
    """How a training stands."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    samples_per_second: float
    eta_s: float
    """Seconds until the last step at the present rate."""
    data_wait_ratio: float
    """Share of the time in which the model waited for data."""

    @property
    def percent(self) -> int:
        """Steps done, rounded down, so that 100 means all."""
        return 100 * self.step // max(1, self.steps)


class Pace:
    """Steps in, readings out; rates are taken over the last WINDOW_S seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin(steps=0, epochs=0)

    def begin(self, steps: int, epochs: int) -> None:
        """The training begins now."""
        self._steps = steps
        self._epochs = epochs
        self._done: deque[tuple[float, int, int, float]] = deque([(self._clock(), 0, 0, 0.0)])
        self._rows = 0
        self._wait_s = 0.0

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> Reading:
        """A step is done now."""
        now = self._clock()
        self._rows += rows
        self._wait_s += data_wait_s
        self._done.append((now, step, self._rows, self._wait_s))
        while len(self._done) > 2 and self._done[1][0] <= now - WINDOW_S:
            self._done.popleft()
        then, first_step, first_rows, first_wait_s = self._done[0]
        elapsed_s = max(now - then, 1e-9)
        return Reading(
            step=step,
            steps=self._steps,
            epoch=epoch,
            epochs=self._epochs,
            loss=loss,
            samples_per_second=(self._rows - first_rows) / elapsed_s,
            eta_s=(self._steps - step) * elapsed_s / max(1, step - first_step),
            data_wait_ratio=min(1.0, (self._wait_s - first_wait_s) / elapsed_s),
        )


class FanOut:
    """Reports to several."""

    def __init__(self, reporters: Iterable[Reporter]) -> None:
        self._reporters = tuple(reporters)

    def phase(self, name: str) -> None:
        """See Reporter."""
        for reporter in self._reporters:
            reporter.phase(name)

    def start(self, steps: int, epochs: int) -> None:
        """See Reporter."""
        for reporter in self._reporters:
            reporter.start(steps, epochs)

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        """See Reporter."""
        for reporter in self._reporters:
            reporter.step(step, epoch, loss, rows, data_wait_s)

    def measured(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """See Reporter."""
        for reporter in self._reporters:
            reporter.measured(step, epoch, metrics)

    def note(self, message: str, **facts: object) -> None:
        """See Reporter."""
        for reporter in self._reporters:
            reporter.note(message, **facts)


class LogReporter:
    """Lines for `kubectl logs -f`: what happens, and a progress line every two seconds at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace(clock)
        self._steps = 0
        self._said_at = float("-inf")

    def phase(self, name: str) -> None:
        """See Reporter."""
        log.info("phase=%s", name)

    def start(self, steps: int, epochs: int) -> None:
        """See Reporter."""
        self._pace.begin(steps, epochs)
        self._steps = steps
        self._said_at = float("-inf")
        log.info("training steps=%d epochs=%d", steps, epochs)

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        """See Reporter."""
        reading = self._pace.step(step, epoch, loss, rows, data_wait_s)
        now = self._clock()
        if now - self._said_at < LOG_EVERY_S and step < self._steps:
            return
        self._said_at = now
        log.info(
            "progress=%d%% epoch=%d/%d step=%d/%d loss=%.4f samples_per_s=%.0f eta=%s",
            reading.percent,
            reading.epoch,
            reading.epochs,
            reading.step,
            reading.steps,
            reading.loss,
            reading.samples_per_second,
            clock_time(reading.eta_s),
        )

    def measured(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """See Reporter; the training's own are in no line, being as many as the steps."""
        shown = {name: value for name, value in metrics.items() if name not in OF_THE_STEP}
        if shown:
            self.note("measured", step=step, epoch=epoch, **shown)

    def note(self, message: str, **facts: object) -> None:
        """See Reporter."""
        log.info("%s", sentence(message, facts))


def sentence(message: str, facts: dict[str, object]) -> str:
    """A message followed by its facts as key=value, values with spaces in quotes."""
    return " ".join((message, *(f"{key}={_value(value)}" for key, value in facts.items())))


def clock_time(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _value(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return repr(text) if not text or any(c.isspace() or c in "\"'=" for c in text) else text
