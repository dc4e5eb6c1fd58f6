"""The course of a run: the training's steps, and what was measured between them."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from embedtune_trainer.progress import OF_THE_STEP

CAPACITY: Final = 2048
"""Most points that are kept; of a longer training each is the mean of 2, 4, 8, ... reports."""


@dataclass(frozen=True)
class TrainingPoint:
    """One or several reports of steps that follow each other.

    Attributes:
        step: the last of the steps, from 1.
        epoch: its epoch, from 1.
        loss: mean of the reports' losses.
        rows: that the steps saw.
        seconds: that they took.
        data_wait_s: of these, in which the model waited for data.
        at_s: seconds from the training's begin to the end of the last step.
        reports: how many reports it is the mean of.
        extra: means of what was measured in the steps: learning_rate, gradient_norm.
    """

    step: int
    epoch: int
    loss: float
    rows: int
    seconds: float
    data_wait_s: float
    at_s: float
    reports: int = 1
    extra: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows_per_s(self) -> float:
        """Training rows per second."""
        return self.rows / max(self.seconds, 1e-9)

    @property
    def data_wait_ratio(self) -> float:
        """Share of the time in which the model waited for data, from 0 to 1."""
        return min(1.0, self.data_wait_s / max(self.seconds, 1e-9))


@dataclass(frozen=True)
class Measurement:
    """The metrics of one evaluation, after so many steps; 0 before the training."""

    step: int
    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Course:
    """A run's history as it stands, oldest first."""

    training: tuple[TrainingPoint, ...] = ()
    measured: tuple[Measurement, ...] = ()

    def lines(self) -> Iterator[str]:
        """metrics.jsonl, a line at a time; an evaluation follows the step it was made after."""
        after_steps = [(p.step, 0, i, _training_line(p)) for i, p in enumerate(self.training)]
        evaluated = [
            (m.step, 1, i, {"step": m.step, "epoch": m.epoch, **m.metrics})
            for i, m in enumerate(self.measured)
        ]
        for *_, line in sorted([*after_steps, *evaluated], key=lambda entry: entry[:3]):
            yield json.dumps(line)


class History:
    """A Reporter that remembers. Its size is bounded, however long the training."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, capacity: int = CAPACITY
    ) -> None:
        self._clock = clock
        self._capacity = capacity
        self._points: list[TrainingPoint] = []
        self._measured: list[Measurement] = []
        self._stride = 1
        self._told_at = clock()
        self._elapsed_s = 0.0

    @property
    def course(self) -> Course:
        """What is known now."""
        return Course(tuple(self._points), tuple(self._measured))

    def phase(self, name: str) -> None:
        """See Reporter; the course has no phases."""

    def note(self, message: str, **facts: object) -> None:
        """See Reporter; the course has no words."""

    def start(self, steps: int, epochs: int) -> None:  # noqa: ARG002  a Reporter's
        """See Reporter. What was restored stays."""
        self._told_at = self._clock()

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        """See Reporter."""
        now = self._clock()
        seconds = now - self._told_at
        self._told_at = now
        self._elapsed_s += seconds
        point = TrainingPoint(step, epoch, loss, rows, seconds, data_wait_s, self._elapsed_s)
        if len(self._points) == self._capacity and self._points[-1].reports == self._stride:
            self._thin()
        if self._points and self._points[-1].reports < self._stride:
            self._points[-1] = merged(self._points[-1], point)
        else:
            self._points.append(point)

    def measured(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """See Reporter."""
        extra = {name: value for name, value in metrics.items() if name in OF_THE_STEP}
        if extra and self._points and self._points[-1].step == step:
            self._points[-1] = _with_extra(self._points[-1], extra)
        rest = {name: value for name, value in metrics.items() if name not in OF_THE_STEP}
        if not rest:
            return
        if self._measured and self._measured[-1].step == step:
            rest = {**self._measured.pop().metrics, **rest}  # what is measured again counts
        self._measured.append(Measurement(step, epoch, rest))

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: JSON values alone."""
        return {
            "stride": self._stride,
            "elapsed_s": self._elapsed_s,
            "training": [asdict(point) for point in self._points],
            "measured": [asdict(measurement) for measurement in self._measured],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; the time between is no part of the course."""
        self._stride = state["stride"]
        self._elapsed_s = state["elapsed_s"]
        self._points = [TrainingPoint(**point) for point in state["training"]]
        self._measured = [Measurement(**measurement) for measurement in state["measured"]]
        self._told_at = self._clock()

    def _thin(self) -> None:
        """Half as many points; the last of an odd number stays as it is, to be filled up."""
        even = zip(self._points[::2], self._points[1::2], strict=False)
        odd = self._points[-1:] if len(self._points) % 2 else []
        self._points = [*(merged(a, b) for a, b in even), *odd]
        self._stride *= 2


def merged(a: TrainingPoint, b: TrainingPoint) -> TrainingPoint:
    """Both in one: means weighted by their reports, and sums."""
    reports = a.reports + b.reports

    def mean(one: float, other: float) -> float:
        return (one * a.reports + other * b.reports) / reports

    extra = {
        name: mean(a.extra.get(name, value), value)
        for name, value in {**a.extra, **b.extra}.items()
    }
    return TrainingPoint(
        step=b.step,
        epoch=b.epoch,
        loss=mean(a.loss, b.loss),
        rows=a.rows + b.rows,
        seconds=a.seconds + b.seconds,
        data_wait_s=a.data_wait_s + b.data_wait_s,
        at_s=b.at_s,
        reports=reports,
        extra=extra,
    )


def _with_extra(point: TrainingPoint, extra: Mapping[str, float]) -> TrainingPoint:
    """A point whose last report gave this, too; its older reports may have given others."""
    older = point.reports - 1
    mixed = {
        name: (point.extra.get(name, value) * older + value) / point.reports
        for name, value in extra.items()
    }
    return TrainingPoint(**{**vars(point), "extra": {**point.extra, **mixed}})


def _training_line(point: TrainingPoint) -> dict[str, float]:
    return {
        "step": point.step,
        "epoch": point.epoch,
        "loss": point.loss,
        **point.extra,
        "rows_per_s": round(point.rows_per_s, 3),
        "data_wait": round(point.data_wait_ratio, 4),
        "seconds": round(point.at_s, 3),
    }
