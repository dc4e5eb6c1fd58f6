"""Puts the parts together, starts them and stops them."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import kopf

from embedtune_operator import garbage, probes
from embedtune_operator.apply import Applier
from embedtune_operator.cache import Cache
from embedtune_operator.children import Pod
from embedtune_operator.client import ApiError, Client
from embedtune_operator.connection import Connection
from embedtune_operator.controller import Controller
from embedtune_operator.handlers import Events, kopf_settings, registry, watched
from embedtune_operator.leader import Leadership
from embedtune_operator.names import SIZER
from embedtune_operator.resync import Resync
from embedtune_operator.scrape import Scraper
from embedtune_operator.settings import Settings
from embedtune_operator.telemetry import Telemetry, World
from embedtune_operator.watching import Pulse, Watched
from embedtune_operator.workqueue import RetryLater, WorkQueue

logger = logging.getLogger(__name__)

URGENT_WORKERS, PATIENT_WORKERS = 14, 2
RESTART_DELAY_S = 2.0
OVERLOOKED_S = 5.0
DRAIN_S = 10.0
HAND_OVER_S = 5.0


class Operator:
    """All parts, wired."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.telemetry = Telemetry()
        self.cache = Cache()
        kinds = watched(settings)
        self.pulse = Pulse(kinds, dead_after_s=settings.watch_dead_after_s, on_gap=self._gap)
        self.connection = Connection([self.telemetry.trace(), self.pulse.trace()])
        self.leadership = self._candidate(*settings.lease) if settings.lease else None
        client = Client(self.connection, self.leads)
        self.scraper = Scraper(interval_s=settings.scrape_interval_s, on_change=self._enqueue)
        self.controller = Controller(
            cache=self.cache,
            applier=Applier(client, self.cache),
            scraper=self.scraper,
            settings=settings,
            telemetry=self.telemetry,
            now=lambda: datetime.now(UTC),
        )
        self.queue = WorkQueue(
            self.controller.reconcile, urgency=self.controller.urgency, on_error=self._failed
        )
        self.events = Events(self.cache, self.controller, self.queue.add)
        self.resync = Resync(
            client, self.cache, self.events, kinds, every_s=settings.resync_interval_s
        )
        self.telemetry.collect_from(
            World(
                cache=self.cache,
                pulse=self.pulse,
                queued=lambda: len(self.queue) if self.leads() else 0,
                leads=self.leads,
                progress=self.scraper.progress,
            )
        )

    def _candidate(self, namespace: str, name: str) -> Leadership:
        identity = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        client = Client(self.connection)
        return Leadership(client, namespace=namespace, name=name, identity=identity)

    def leads(self) -> bool:
        """Whether this replica is the one that works."""
        return self.leadership is None or self.leadership.held

    def _enqueue(self, uid: str) -> None:
        self.queue.add(uid)

    def _gap(self, kind: Watched) -> None:
        self.resync.after_gap(kind)

    def _failed(self, uid: str, error: Exception) -> None:
        self.telemetry.reconcile_errors.labels(type(error).__name__).inc()
        job = self.cache.jobs.get(uid)
        facts = job.facts if job is not None else {"uid": uid}
        if isinstance(error, RetryLater | ApiError):
            logger.warning("reconcile failed, will be repeated: %s", error, extra=facts)
        else:
            logger.error("a defect broke a reconcile off", exc_info=error, extra=facts)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            RuntimeError: one of the parts has ended, which only a defect can bring about.
        """
        runner = await probes.serve(
            self.settings.metrics_port,
            self.telemetry.registry,
            dead=self.pulse.dead,
            ready=lambda: self.pulse.synced,
        )
        parts = [
            asyncio.create_task(self.queue.run(URGENT_WORKERS, PATIENT_WORKERS), name="work"),
            asyncio.create_task(self._work_when_synced(), name="sync"),
            asyncio.create_task(self.scraper.run(self._scraped), name="scrape"),
            asyncio.create_task(self.resync.run(), name="resync"),
            asyncio.create_task(garbage.keep_setting_aside(), name="garbage"),
        ]
        await asyncio.sleep(0)  # kopf ends tasks that begin after it does, so these begin before
        watch = asyncio.create_task(self._watch(), name="watch")
        try:
            done, _ = await asyncio.wait([watch, *parts], return_when=asyncio.FIRST_COMPLETED)
            if watch not in done:
                raise RuntimeError(f"ended by itself: {done}")
            await self.queue.drain(DRAIN_S)
        finally:
            for task in (watch, *parts):
                task.cancel()
            await asyncio.gather(watch, *parts, return_exceptions=True)
            await self._hand_over()
            await self.connection.close()
            await runner.cleanup()

    async def _work_when_synced(self) -> None:
        while not self.pulse.synced:  # decide on the whole picture, not on its first strokes
            await asyncio.sleep(0.02)
        logger.info("every kind is listed and watched", extra={"jobs": len(self.cache.jobs)})
        garbage.set_aside()
        if self.leadership is None:
            self.queue.open()
            await asyncio.Event().wait()
        else:
            await self.leadership.run(gained=self._begin, lost=self.queue.close)

    def _begin(self) -> None:
        """Look at every job: what another replica left off is not told by any event."""
        for job in self.cache.jobs:
            self.queue.add(job.id.uid)
        self.queue.open()

    def _scraped(self) -> Iterable[Pod]:
        pods = self.cache.pods if self.leads() else ()
        return (pod for pod in pods if pod.component != SIZER)

    async def _hand_over(self) -> None:
        if self.leadership is None:
            return
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await self.leadership.release()
        except (ApiError, TimeoutError) as error:
            logger.warning("Lease not given up, it ends by itself: %s", error or "no answer")

    async def _watch_every_kind(self, again: asyncio.Event) -> None:
        """Have kopf begin anew if it does not watch every kind.

        It looks once for what the API server has, and one that has just started has not all yet.
        """
        since: float | None = None
        while not self.pulse.synced:
            await asyncio.sleep(1)
            since = since or time.monotonic() if self.pulse.overlooked else None
            if since is not None and time.monotonic() - since > OVERLOOKED_S:
                logger.warning("not served yet: %s", ", ".join(self.pulse.overlooked))
                again.set()
                return

    async def _watch(self) -> None:
        """Keep kopf running; what it cannot go on from, it starts anew from."""
        stop = asyncio.Event()
        handlers = registry(self.events, self.connection, self.settings)
        while not stop.is_set():
            again = asyncio.Event()
            look = asyncio.create_task(self._watch_every_kind(again))
            try:
                await kopf.operator(
                    registry=handlers,
                    settings=kopf_settings(self.settings),
                    standalone=True,
                    # kopf's own guess looks the user up, and a container's has no name
                    identity=cast(Any, socket.gethostname()),
                    clusterwide=not self.settings.namespaces,
                    namespaces=self.settings.namespaces,
                    stop_flag=again,
                )
            except Exception:
                logger.exception("watching broke off and begins anew")
            else:
                if not again.is_set():
                    return  # on a signal
            finally:
                look.cancel()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RESTART_DELAY_S)
