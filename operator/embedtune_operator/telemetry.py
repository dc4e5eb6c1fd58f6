"""The operator's own metrics."""

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from embedtune_operator.cache import Cache
from embedtune_operator.watching import Pulse

_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Telemetry:
    """Counters and histograms; what is merely a state is collected when asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "embedtune_reconcile_seconds",
            "Duration of one reconcile",
            buckets=_FAST,
            registry=self.registry,
        )
        self.reconcile_errors = Counter(
            "embedtune_reconcile_errors_total",
            "Reconciles that failed and were put back",
            ["error"],
            registry=self.registry,
        )
        self.api_calls = Counter(
            "embedtune_api_calls_total",
            "Calls to the API server, watches included; code 0 for no answer",
            ["verb", "code"],
            registry=self.registry,
        )
        self.apply_seconds = Histogram(
            "embedtune_seen_to_child_seconds",
            "From first seeing a FineTuneJob to its child Job being made",
            buckets=_FAST,
            registry=self.registry,
        )
        self.finish_seconds = Histogram(
            "embedtune_finished_to_status_seconds",
            "From seeing the trainer end to a terminal status",
            buckets=_FAST,
            registry=self.registry,
        )

    def trace(self) -> aiohttp.TraceConfig:
        """The hook for the session to the API server."""
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._ended)
        config.on_request_exception.append(self._broke)
        return config

    async def _ended(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        params: aiohttp.TraceRequestEndParams,
    ) -> None:
        verb = "WATCH" if "watch" in params.url.query else params.method
        self.api_calls.labels(verb, str(params.response.status)).inc()

    async def _broke(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        params: aiohttp.TraceRequestExceptionParams,
    ) -> None:
        verb = "WATCH" if "watch" in params.url.query else params.method
        self.api_calls.labels(verb, "0").inc()

    def collect_from(
        self, cache: Cache, pulse: Pulse, queued: Callable[[], int], leads: Callable[[], bool]
    ) -> None:
        """Export states that live elsewhere."""
        self.registry.register(_States(cache, pulse, queued, leads))


class _States(Collector):
    def __init__(
        self, cache: Cache, pulse: Pulse, queued: Callable[[], int], leads: Callable[[], bool]
    ) -> None:
        self._cache = cache
        self._pulse = pulse
        self._queued = queued
        self._leads = leads

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily(
            "embedtune_jobs", "FineTuneJobs by state and reason", labels=["state", "reason"]
        )
        for (state, reason), number in Tally((j.state, j.reason) for j in self._cache.jobs).items():
            jobs.add_metric([state, reason], number)
        yield jobs
        yield GaugeMetricFamily(
            "embedtune_queue_depth", "Jobs that wait for a reconcile", value=self._queued()
        )
        yield GaugeMetricFamily(
            "embedtune_leader", "1 in the replica that works", value=float(self._leads())
        )
        ages = GaugeMetricFamily(
            "embedtune_watch_age_seconds",
            "Seconds since the API server last answered a watch",
            labels=["kind", "namespace"],
        )
        for watched, age in self._pulse.ages().items():
            ages.add_metric([watched.kind, watched.namespace or ""], age)
        yield ages
