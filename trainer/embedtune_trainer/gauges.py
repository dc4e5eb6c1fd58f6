"""Progress as Prometheus gauges, which is how the operator learns of it."""

import logging
import socket
import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from embedtune_api.contract import PHASES, Metric
from embedtune_trainer.progress import Pace

log = logging.getLogger(__name__)


class PrometheusReporter:
    """Gauges by contract.Metric in a registry of their own; they stay until the process ends."""

    def __init__(
        self,
        gpu_memory_bytes: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the gauges; `serve` shows them.

        Args:
            gpu_memory_bytes: the most that was allocated so far, 0 without a GPU.
            clock: seconds from any moment on.
        """
        self.registry = CollectorRegistry()
        self._pace = Pace(clock)
        self._gpu_memory_bytes = gpu_memory_bytes
        self._phase = Gauge(Metric.PHASE, "The phase in work", ["phase"], registry=self.registry)
        self._epoch = self._gauge(Metric.EPOCH, "Epoch in work, from 1; 0 before the first")
        self._step = self._gauge(Metric.STEP, "Optimizer steps done")
        self._steps = self._gauge(Metric.STEPS, "Optimizer steps in all; 0 before it is known")
        self._loss = self._gauge(Metric.LOSS, "Loss of the last batch")
        self._rate = self._gauge(Metric.SAMPLES_PER_SECOND, "Training rows per second, lately")
        self._eta = self._gauge(Metric.ETA_SECONDS, "Seconds until the last step")
        self._wait = self._gauge(Metric.DATA_WAIT_RATIO, "Share of time spent waiting for data")
        self._memory = self._gauge(Metric.GPU_MEMORY_BYTES, "Most GPU memory allocated so far")
        for name in PHASES:
            self._phase.labels(name).set(0)

    def serve(self, port: int) -> None:
        """Serve them on all addresses; without a free port the run goes on unseen."""
        address = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  for the operator
        try:
            start_http_server(port, address, self.registry)
        except OSError as error:
            log.warning("no metrics, port=%d cannot be served: %s", port, error)

    def phase(self, name: str) -> None:
        """See Reporter."""
        for other in PHASES:
            self._phase.labels(other).set(other == name)

    def start(self, steps: int, epochs: int) -> None:
        """See Reporter."""
        self._pace.begin(steps, epochs)
        self._steps.set(steps)

    def step(self, step: int, epoch: int, loss: float, rows: int, data_wait_s: float) -> None:
        """See Reporter."""
        reading = self._pace.step(step, epoch, loss, rows, data_wait_s)
        self._epoch.set(epoch)
        self._step.set(step)
        self._loss.set(loss)
        self._rate.set(reading.samples_per_second)
        self._eta.set(reading.eta_s)
        self._wait.set(reading.data_wait_ratio)
        self._memory.set(self._gpu_memory_bytes())

    def measured(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """See Reporter; the status has the metrics when the run is over."""

    def note(self, message: str, **facts: object) -> None:
        """See Reporter; gauges have no words."""

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(name, description, registry=self.registry)
