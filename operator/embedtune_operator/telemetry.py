"""The operator's own metrics; docs/metrics.md lists them.

No label's values are a user's to choose without an end: states and reasons are those of the API,
and jobs are shown one by one only while they run, JOBS_SHOWN at most.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import get_args

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from embedtune_api import reasons
from embedtune_api.status import Progress, State
from embedtune_operator.cache import Cache
from embedtune_operator.children import Pod
from embedtune_operator.watching import Pulse

JOBS_SHOWN = 500
"""Series of each kind that are of single jobs."""
OTHER = "Other"
"""A state or reason that is none of the API's, as only a status written by hand can have."""
STATES = frozenset(get_args(State))
REASONS = frozenset(
    ["", *(v for name, v in vars(reasons).items() if name.isupper() and isinstance(v, str))]
)
_SLOW = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)
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

        self.running_seconds = Histogram(
            "embedtune_created_to_running_seconds",
            "From the creation of a FineTuneJob to its first running pod",
            buckets=_SLOW,
            registry=self.registry,
        )
        self.finished = Counter(
            "embedtune_jobs_finished_total",
            "FineTuneJobs that became Complete or Failed, by reason",
            ["state", "reason"],
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

    def job_finished(self, state: str, reason: str) -> None:
        """Count a job that has got its terminal condition."""
        self.finished.labels(_known(state, STATES), _known(reason, REASONS)).inc()

    def collect_from(self, world: "World") -> None:
        """Export states that live elsewhere."""
        self.registry.register(_States(world))


@dataclass(frozen=True, slots=True)
class World:
    """Where the states are."""

    cache: Cache
    pulse: Pulse
    queued: Callable[[], int]
    leads: Callable[[], bool]
    progress: Mapping[str, Progress]
    """By pod uid."""


def _known(value: str, known: frozenset[str]) -> str:
    return value if value in known else OTHER


class _States(Collector):
    def __init__(self, world: World) -> None:
        self._world = world

    def collect(self) -> Iterator[Metric]:
        leads = self._world.leads()
        yield _gauge("embedtune_leader", "1 in the replica that works", float(leads))
        yield _gauge("embedtune_queue_depth", "Jobs to be reconciled", self._world.queued())
        ages = GaugeMetricFamily(
            "embedtune_watch_age_seconds",
            "Seconds since the API server last answered a watch",
            labels=["kind", "namespace"],
        )
        for watched, age in self._world.pulse.ages().items():
            ages.add_metric([watched.kind, watched.namespace or ""], age)
        yield ages
        if leads:  # so that a sum over the replicas is right
            yield self._jobs()
            yield from self._progress()

    def _jobs(self) -> Metric:
        jobs = GaugeMetricFamily(
            "embedtune_jobs", "FineTuneJobs by state and reason", labels=["state", "reason"]
        )
        counts = Tally(
            (_known(job.state, STATES), _known(job.reason, REASONS))
            for job in self._world.cache.jobs
        )
        for (state, reason), number in counts.items():
            jobs.add_metric([state, reason], number)
        return jobs

    def _progress(self) -> Iterator[Metric]:
        running = list(self._running())
        labels = ["namespace", "finetunejob"]
        ratio = GaugeMetricFamily(
            "embedtune_job_progress_ratio", "Share of a running job's steps", labels=labels
        )
        rate = GaugeMetricFamily(
            "embedtune_job_samples_per_second", "Training rows a second", labels=labels
        )
        for pod, progress in running[:JOBS_SHOWN]:
            values = [pod.id.namespace, pod.job_name]
            ratio.add_metric(values, progress.percent / 100)
            if progress.samples_per_second is not None:
                rate.add_metric(values, float(progress.samples_per_second))
        hidden = max(0, len(running) - JOBS_SHOWN)
        yield from (ratio, rate)
        yield _gauge("embedtune_jobs_not_shown", f"Running jobs beyond {JOBS_SHOWN}", hidden)

    def _running(self) -> Iterator[tuple[Pod, Progress]]:
        """Pods with progress, those of the oldest first."""
        pods = map(self._world.cache.pods.get, self._world.progress)
        for pod in sorted((p for p in pods if p is not None), key=lambda pod: pod.id.created):
            yield pod, self._world.progress[pod.id.uid]


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
