"""What the three reporters say of the same training."""

import io
import logging
import urllib.request

import pytest
from rich.console import Console

from embedtune_api.contract import PHASES, Metric
from embedtune_trainer.console import ConsoleReporter
from embedtune_trainer.gauges import PrometheusReporter
from embedtune_trainer.progress import FanOut, LogReporter, Pace, Reporter, clock_time, sentence
from tests.trainer.conftest import free_ports


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def train(reporter: Reporter, clock: Clock, steps: int = 20, step_s: float = 1.0) -> None:
    """Two epochs of batches of 64, a quarter of the time spent waiting."""
    reporter.phase("Training")
    reporter.start(steps, 2)
    for step in range(1, steps + 1):
        clock.now += step_s
        epoch = 1 if step <= steps // 2 else 2
        reporter.step(step, epoch, 1.0 / step, 64, step_s / 4)
        reporter.measured(step, epoch, {"learning_rate": 1e-5})


def test_the_rate_is_of_the_last_seconds(clock: Clock) -> None:
    pace = Pace(clock)
    pace.begin(steps=100, epochs=2)
    for step in range(1, 41):
        clock.now += 1.0 if step <= 20 else 0.5
        reading = pace.step(step, 1, 0.5, 64, 0.25)
    assert reading.samples_per_second == pytest.approx(128)
    assert reading.eta_s == pytest.approx(30)
    assert reading.data_wait_ratio == pytest.approx(0.5)
    assert reading.percent == 40


def test_a_slow_step_has_a_rate_too(clock: Clock) -> None:
    pace = Pace(clock)
    pace.begin(steps=2, epochs=1)
    clock.now += 60
    assert pace.step(1, 1, 0.5, 30, 0.0).samples_per_second == pytest.approx(0.5)
    clock.now += 30
    assert pace.step(2, 1, 0.5, 30, 0.0).samples_per_second == pytest.approx(1.0)


def test_all_is_only_said_of_all(clock: Clock) -> None:
    pace = Pace(clock)
    pace.begin(steps=1000, epochs=1)
    assert pace.step(999, 1, 0.5, 1, 0.0).percent == 99
    assert pace.step(1000, 1, 0.5, 1, 0.0).percent == 100


def test_the_gauges_are_the_contract_s(clock: Clock) -> None:
    reporter = PrometheusReporter(lambda: 7, clock)

    def value(name: str, **labels: str) -> float | None:
        return reporter.registry.get_sample_value(name, labels)

    assert {value(Metric.PHASE, phase=name) for name in PHASES} == {0}
    assert value(Metric.STEPS) == 0
    train(reporter, clock)
    assert [value(Metric.PHASE, phase=name) for name in PHASES] == [0, 0, 1, 0]
    assert value(Metric.STEP) == value(Metric.STEPS) == 20
    assert value(Metric.EPOCH) == 2
    assert value(Metric.LOSS) == 0.05
    assert value(Metric.SAMPLES_PER_SECOND) == pytest.approx(64)
    assert value(Metric.ETA_SECONDS) == 0
    assert value(Metric.DATA_WAIT_RATIO) == pytest.approx(0.25)
    assert value(Metric.GPU_MEMORY_BYTES) == 7
    reporter.phase("Exporting")
    assert [value(Metric.PHASE, phase=name) for name in PHASES] == [0, 0, 0, 1]
    assert value(Metric.STEP) == 20


def test_the_gauges_are_served(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    reporter = PrometheusReporter(clock=clock)
    reporter.serve(port)
    train(reporter, clock)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert f"{Metric.STEP} 20.0\n" in answer.read().decode()
    PrometheusReporter().serve(port)
    assert "no metrics" in caplog.text


def test_the_log_has_a_line_every_two_seconds(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reporter = LogReporter(clock)
    train(reporter, clock, steps=10, step_s=0.5)
    reporter.measured(10, 2, {"ndcg_at_10": 0.75, "learning_rate": 0.0})
    reporter.note("held out", rows=12, uri="file:///a b", share=0.123456)
    assert caplog.messages == [
        "phase=Training",
        "training steps=10 epochs=2",
        "progress=10% epoch=1/2 step=1/10 loss=1.0000 samples_per_s=128 eta=0:04",
        "progress=50% epoch=1/2 step=5/10 loss=0.2000 samples_per_s=128 eta=0:02",
        "progress=90% epoch=2/2 step=9/10 loss=0.1111 samples_per_s=128 eta=0:00",
        "progress=100% epoch=2/2 step=10/10 loss=0.1000 samples_per_s=128 eta=0:00",
        "measured step=10 epoch=2 ndcg_at_10=0.75",
        "held out rows=12 uri='file:///a b' share=0.1235",
    ]


def test_the_bar_shows_the_same(clock: Clock) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with ConsoleReporter(console) as reporter:
        train(reporter, clock)
        reporter.measured(20, 2, {"map": 0.5})
        reporter.note("a note", rows=3)
    shown = screen.getvalue()
    assert "a note rows=3" in shown
    assert "measured step=20 epoch=2 map=0.5" in shown
    assert "learning_rate" not in shown
    assert "Training" in shown
    assert "100%  epoch 2/2  loss 0.0500" in shown


def test_everyone_is_told(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gauges = PrometheusReporter(clock=clock)
    train(FanOut((gauges, LogReporter(clock))), clock)
    assert gauges.registry.get_sample_value(Metric.STEP) == 20
    assert "step=20/20" in caplog.messages[-1]


def test_words() -> None:
    assert [clock_time(s) for s in (0, 61.4, 3661)] == ["0:00", "1:01", "1:01:01"]
    assert sentence("a", {"b": "", "c": 'x"y', "d": 1}) == "a b='' c='x\"y' d=1"
