"""The course of a run: complete while short, thinned when long, whole after a resume."""

import json

import pytest

from embedtune_trainer.reporting.history import History


class Clock:
    now = 5.0

    def __call__(self) -> float:
        return self.now


def trained(steps: int, capacity: int = 2048) -> History:
    clock = Clock()
    history = History(clock, capacity)
    history.measured(0, 0, {"map": 0.25})
    history.start(steps, 1)
    go_on(history, clock, 1, steps)
    return history


def go_on(history: History, clock: Clock, first: int, last: int) -> None:
    for step in range(first, last + 1):
        clock.now += 0.5
        history.step(step, 1, float(step), 8, 0.125)
        history.measured(step, 1, {"learning_rate": step / 100})


def test_the_lines_are_in_the_order_of_the_steps() -> None:
    history = trained(2)
    history.measured(2, 1, {"map": 0.5})
    assert [json.loads(line) for line in history.course.lines()] == [
        {"step": 0, "epoch": 0, "map": 0.25},
        {"step": 1, "epoch": 1, "loss": 1.0, "learning_rate": 0.01}
        | {"rows_per_s": 16.0, "data_wait": 0.25, "seconds": 0.5},
        {"step": 2, "epoch": 1, "loss": 2.0, "learning_rate": 0.02}
        | {"rows_per_s": 16.0, "data_wait": 0.25, "seconds": 1.0},
        {"step": 2, "epoch": 1, "map": 0.5},
    ]


def test_what_is_measured_again_counts() -> None:
    history = trained(2)
    history.measured(2, 1, {"map": 0.5, "mrr": 0.25})
    history.measured(2, 1, {"map": 0.75})
    assert [dict(m.metrics) for m in history.course.measured] == [
        {"map": 0.25},
        {"map": 0.75, "mrr": 0.25},
    ]


@pytest.mark.parametrize("steps", [7, 8, 9, 16, 17, 100, 1001])
@pytest.mark.parametrize("capacity", [7, 8])
def test_a_long_course_is_thinned_but_nothing_is_lost(steps: int, capacity: int) -> None:
    points = trained(steps, capacity).course.training
    assert len(points) <= capacity
    assert sum(p.reports for p in points) == steps
    assert sum(p.rows for p in points) == 8 * steps
    assert points[-1].step == steps
    first = 0
    for point in points:
        steps_of_it = range(first + 1, point.step + 1)
        assert len(steps_of_it) == point.reports
        assert point.loss == pytest.approx(sum(steps_of_it) / len(steps_of_it))
        assert point.extra["learning_rate"] == pytest.approx(point.loss / 100)
        assert point.at_s == pytest.approx(point.step / 2)
        first = point.step


def test_a_resumed_course_is_that_of_one_that_was_not_stopped() -> None:
    first = trained(9, capacity=8)
    clock = Clock()
    second = History(clock, capacity=8)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    clock.now += 1000
    second.start(30, 1)
    go_on(second, clock, 10, 30)
    assert second.course == trained(30, capacity=8).course
