"""Progress, read from the metrics that each trainer serves; so training pods need no API token.

However many trainers there are, only so many a second are told of, since each is a write of a
status, and the API server is everybody's. Those whose turn has not come are told of as they are
then.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from embedtune_api import contract
from embedtune_api.contract import Metric
from embedtune_api.status import Progress
from embedtune_operator.children import Pod

logger = logging.getLogger(__name__)

CONCURRENCY = 32
TIMEOUT = aiohttp.ClientTimeout(total=2)
TOLD_A_SECOND = 10
SIZE_MAX = 256 * 1024
"""A trainer's metrics are a few KiB; the pod is its user's, so nothing it serves is trusted."""


class BadMetrics(ValueError):
    """What a pod serves is not a trainer's metrics."""


def progress_of(text: str) -> Progress:
    """Progress from a trainer's metrics page.

    Raises:
        BadMetrics: the page cannot be read, or lacks what every trainer serves.
    """
    values: dict[str, float] = {}
    phase = ""
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == Metric.PHASE:
                    phase = sample.labels.get("phase", "") if sample.value == 1 else phase
                elif math.isfinite(sample.value):
                    values[sample.name] = float(sample.value)
    except ValueError as error:
        raise BadMetrics(f"not Prometheus text: {error}") from None
    if phase not in contract.PHASES:
        raise BadMetrics(f"{Metric.PHASE} names no phase of a trainer")
    step = _whole(values, Metric.STEP)
    steps = _whole(values, Metric.STEPS)
    percent = min(100, 100 * step // steps) if steps else 0
    eta = values.get(Metric.ETA_SECONDS)
    # before the first step there is nothing to have lost
    rate = values.get(Metric.SAMPLES_PER_SECOND) if step else None
    loss = values.get(Metric.LOSS) if step else None
    return Progress(
        summary=f"{percent}%" if phase == "Training" else f"{phase} {percent}%",
        phase=phase,
        percent=percent,
        epoch=_whole(values, Metric.EPOCH),
        step=step,
        steps=steps,
        loss=None if loss is None else f"{loss:.6g}",
        samples_per_second=None if rate is None else f"{max(0.0, rate):.1f}",
        eta_seconds=None if eta is None else max(0, min(2**31 - 1, round(eta))),
    )


def _whole(values: dict[str, float], name: str) -> int:
    return int(max(0.0, min(2.0**53, values.get(name, 0.0))))


class Scraper:
    """Asks every running trainer, and says whose progress has changed."""

    def __init__(self, *, interval_s: float, on_change: Callable[[str], None]) -> None:
        self.progress: dict[str, Progress] = {}
        """By pod uid."""
        self._interval_s = interval_s
        self._on_change = on_change
        self._changed: dict[str, None] = {}
        self._news = asyncio.Event()

    async def run(self, pods: Callable[[], Iterable[Pod]]) -> None:
        """Scrape and tell for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._scrape(pods))
            group.create_task(self.tell())

    def changed(self, uid: str) -> None:
        """A job's progress is to be told of; one that waits for it already keeps its place."""
        self._changed[uid] = None
        self._news.set()

    async def tell(self) -> None:
        """Tell of changes for ever, of who has waited longest first."""
        while True:
            await self._news.wait()
            uid = next(iter(self._changed))
            del self._changed[uid]
            if not self._changed:
                self._news.clear()
            self._on_change(uid)
            await asyncio.sleep(1 / TOLD_A_SECOND)

    async def _scrape(self, pods: Callable[[], Iterable[Pod]]) -> None:
        connector = aiohttp.TCPConnector(limit=CONCURRENCY, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
            while True:
                running = [pod for pod in pods() if pod.running and pod.ip and pod.first]
                await self.once(session, running)
                await asyncio.sleep(self._interval_s)

    async def once(self, session: aiohttp.ClientSession, running: list[Pod]) -> None:
        """Ask each of these pods."""
        alive = {pod.id.uid for pod in running}
        for uid in self.progress.keys() - alive:
            del self.progress[uid]
        gate = asyncio.Semaphore(CONCURRENCY)

        async def ask(pod: Pod) -> None:
            async with gate:
                await self._ask(session, pod)

        await asyncio.gather(*map(ask, running))

    async def _ask(self, session: aiohttp.ClientSession, pod: Pod) -> None:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        url = f"http://{host}:{contract.METRICS_PORT}/metrics"
        try:
            async with session.get(url, allow_redirects=False) as response:
                page = await response.content.read(SIZE_MAX)
                progress = progress_of(page.decode(errors="replace"))
        except (aiohttp.ClientError, TimeoutError, OSError, BadMetrics) as error:
            # it may not serve yet, or have ended just now; the next look will tell
            logger.debug("no progress from %s: %s", url, error)
            return
        if progress != self.progress.get(pod.id.uid):
            self.progress[pod.id.uid] = progress
            self.changed(pod.job_uid)
