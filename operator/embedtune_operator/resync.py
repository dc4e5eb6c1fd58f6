"""Mends what the watches cannot: deletions in a gap between two watches, and lost events.

kopf lists anew when a watch breaks for good, but tells nothing of what had gone by then. So after
such a gap, and every few minutes in any case, each kind is listed once, in pages: what is listed
is taken in, what is held and not listed any more is gone. That is a fixed number of calls, however
many jobs there are (but for the pages).
"""

import asyncio
import logging

from embedtune_operator.cache import Cache, Shelf
from embedtune_operator.children import ChildJob, Pod
from embedtune_operator.client import ApiError, Client
from embedtune_operator.handlers import CHILDREN, JOBS, Events
from embedtune_operator.views import StoredJob, StoredRuntime
from embedtune_operator.watching import Watched

logger = logging.getLogger(__name__)

AFTER_GAP_S = 1.0
RETRY_S = 10.0


class Resync:
    """See the module."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        events: Events,
        kinds: list[Watched],
        *,
        every_s: float,
    ) -> None:
        """Every_s: seconds between listings, gaps or none."""
        self._client = client
        self._every_s = every_s
        self._cache = cache
        self._events = events
        self.kinds = kinds
        self._gap = asyncio.Event()
        self._pending: set[Watched] = set()

    def after_gap(self, kind: Watched) -> None:
        """Events of this kind may have been lost."""
        self._pending.add(kind)
        self._gap.set()

    async def run(self) -> None:
        """Resynchronise for ever."""
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    await self._gap.wait()
                    await asyncio.sleep(AFTER_GAP_S)  # several watches break together
            except TimeoutError:
                self._pending.update(self.kinds)
            self._gap.clear()
            for kind in list(self._pending):
                try:
                    await self.once(kind)
                except ApiError as error:
                    logger.warning("resync failed", extra={"kind": kind.kind, "error": str(error)})
                    await asyncio.sleep(RETRY_S)
                    self._gap.set()
                else:
                    self._pending.discard(kind)

    async def once(self, kind: Watched) -> None:
        """List one kind and take the result for the truth."""
        shelf = self._shelf(kind)
        began, as_of = shelf.sequence, 0
        async for version, page in self._client.list(kind.path, kind.selector):
            as_of = version
            for raw in page:
                self._events.seen(kind.kind, raw)
        for item in shelf.unseen_since(began):
            # what is newer than the listing is not in it, and not gone for that
            if kind.namespace in (None, item.id.namespace) and item.id.resource_version <= as_of:
                self._events.gone(kind.kind, item.id.uid)

    def _shelf(
        self, kind: Watched
    ) -> Shelf[StoredJob] | Shelf[ChildJob] | Shelf[Pod] | Shelf[StoredRuntime]:
        if kind.kind in self._cache.runtimes:
            return self._cache.runtimes[kind.kind]
        if kind.kind == JOBS:
            return self._cache.jobs
        return self._cache.children if kind.kind == CHILDREN else self._cache.pods
