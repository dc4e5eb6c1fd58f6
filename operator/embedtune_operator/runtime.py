"""Puts the parts together, starts them and stops them."""

import asyncio
import contextlib
import logging
import signal
import socket
from datetime import UTC, datetime
from typing import Any, cast

import kopf

from embedtune_operator import probes
from embedtune_operator.apply import Applier
from embedtune_operator.cache import Cache
from embedtune_operator.client import Client
from embedtune_operator.connection import Connection
from embedtune_operator.controller import Controller
from embedtune_operator.handlers import Events, kopf_settings, registry, watched
from embedtune_operator.resync import Resync
from embedtune_operator.scrape import Scraper
from embedtune_operator.settings import Settings
from embedtune_operator.telemetry import Telemetry
from embedtune_operator.watching import Pulse, Watched
from embedtune_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

WORKERS = 16
RESTART_DELAY_S = 2.0
DRAIN_S = 10.0


class Operator:
    """All parts, wired."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.telemetry = Telemetry()
        self.cache = Cache()
        kinds = watched(settings)
        self.pulse = Pulse(kinds, dead_after_s=settings.watch_dead_after_s, on_gap=self._gap)
        self.connection = Connection([self.telemetry.trace(), self.pulse.trace()])
        client = Client(self.connection)
        self.scraper = Scraper(interval_s=settings.scrape_interval_s, on_change=self._enqueue)
        self.controller = Controller(
            cache=self.cache,
            applier=Applier(client, self.cache),
            scraper=self.scraper,
            settings=settings,
            telemetry=self.telemetry,
            now=lambda: datetime.now(UTC),
        )
        self.queue = WorkQueue(self.controller.reconcile, on_error=self._failed)
        self.events = Events(self.cache, self.controller, self._enqueue)
        self.resync = Resync(client, self.cache, self.events, kinds)
        self.telemetry.collect_from(self.cache, self.pulse, lambda: len(self.queue))

    def _enqueue(self, uid: str) -> None:
        self.queue.add(uid)

    def _gap(self, kind: Watched) -> None:
        self.resync.after_gap(kind)

    def _failed(self, uid: str, error: Exception) -> None:
        self.telemetry.reconcile_errors.labels(type(error).__name__).inc()
        job = self.cache.jobs.get(uid)
        facts = {"job": job.id.name, "namespace": job.id.namespace} if job else {}
        logger.warning("reconcile failed, will be repeated: %s", error, extra={**facts, "uid": uid})

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
            asyncio.create_task(self.queue.run(WORKERS), name="work"),
            asyncio.create_task(self._open_when_synced(), name="sync"),
            asyncio.create_task(self.scraper.run(lambda: self.cache.pods), name="scrape"),
            asyncio.create_task(self.resync.run(), name="resync"),
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
            await runner.cleanup()

    async def _open_when_synced(self) -> None:
        while not self.pulse.synced:  # decide on the whole picture, not on its first strokes
            await asyncio.sleep(0.02)
        logger.info("every kind is listed and watched", extra={"jobs": len(self.cache.jobs)})
        self.queue.open()
        await asyncio.Event().wait()

    async def _watch(self) -> None:
        """Keep kopf running; what it cannot go on from, it starts anew from."""
        stop = asyncio.Event()
        handlers = registry(self.events, self.connection)
        while not stop.is_set():
            try:
                await kopf.operator(
                    registry=handlers,
                    settings=kopf_settings(self.settings),
                    standalone=True,
                    # kopf's own guess looks the user up, and a container's has no name
                    identity=cast(Any, socket.gethostname()),
                    clusterwide=not self.settings.namespaces,
                    namespaces=self.settings.namespaces,
                )
            except Exception:
                logger.exception("watching broke off and begins anew")
            else:
                return  # on a signal
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RESTART_DELAY_S)
