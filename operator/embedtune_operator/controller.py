"""Reconciles FineTuneJobs: whatever happens in the cluster, `reconcile` is called with a job's uid.

It is the same function from every trigger (a job, a child or a pod changed, a scrape brought news,
a timer ran out, the operator started), so there is one path to understand and to test.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from embedtune_operator.apply import Applier
from embedtune_operator.cache import Cache
from embedtune_operator.children import ChildJob, Pod
from embedtune_operator.client import Conflict, NotFound, NotLeading, Refused, Unavailable
from embedtune_operator.conditions import TERMINAL, is_finished
from embedtune_operator.decide import decide
from embedtune_operator.names import FINALIZER, SIZER, child_name
from embedtune_operator.observe import Refusal, attempt, begun, observe
from embedtune_operator.plan import Plan
from embedtune_operator.removal import decide_removal
from embedtune_operator.scrape import Scraper
from embedtune_operator.settings import Settings
from embedtune_operator.telemetry import Telemetry
from embedtune_operator.turns import Turn
from embedtune_operator.views import StoredJob, parse_time
from embedtune_operator.workqueue import RetryLater, Urgency

logger = logging.getLogger(__name__)

LOOKS = 5
"""Decisions in one pass at most; each follows a fresh reading, so more means others interfere."""
UNLED_AGAIN_S = 1.0
"""After a write that was not sent for want of the Lease. On a busy machine a renewal can come late,
and nobody else leads: what waits must not wait out the delays of failures then."""
REFUSAL_FIRST_S, REFUSAL_LONGEST_S = 5, 300


class Controller:
    """See the module."""

    def __init__(
        self,
        *,
        cache: Cache,
        applier: Applier,
        scraper: Scraper,
        settings: Settings,
        telemetry: Telemetry,
        now: Callable[[], datetime],
    ) -> None:
        self._cache = cache
        self._applier = applier
        self._scraper = scraper
        self._settings = settings
        self._telemetry = telemetry
        self._now = now
        self._refusals: dict[str, Refusal] = {}
        self._owed: dict[str, list[Turn]] = {}
        self._first_seen: dict[str, float] = {}
        self._trainer_ended: dict[str, float] = {}

    def job_seen(self, job: StoredJob, *, fresh: bool) -> bool:
        """Take a FineTuneJob in; whether it is news. Fresh: it was made while we watched."""
        if fresh and self._cache.jobs.get(job.id.uid) is None:
            self._first_seen[job.id.uid] = time.monotonic()
        return self._cache.put_job(job)

    def pod_seen(self, pod: Pod) -> bool:
        """Take a pod in; whether it is news."""
        news = self._cache.put_pod(pod)
        if news and pod.terminated is not None and pod.component != SIZER:
            self._trainer_ended.setdefault(pod.job_uid, time.monotonic())
        return news

    def child_seen(self, child: ChildJob) -> bool:
        """Take a child Job in; whether it is news."""
        return self._cache.put_child(child)

    def job_gone(self, uid: str) -> None:
        """Forget a FineTuneJob; the garbage collector sees to its children."""
        self._cache.remove_job(uid)
        for memory in (self._refusals, self._owed, self._first_seen, self._trainer_ended):
            memory.pop(uid, None)

    def urgency(self, uid: str) -> Urgency:
        """A GPU that waits for a pod costs more than a status that waits to be written."""
        job = self._cache.jobs.get(uid)
        if job is None or job.state in TERMINAL:
            return Urgency.CAN_WAIT
        if job.new and not self._cache.has_child(uid):
            return Urgency.FIRST
        pods = self._cache.pods_of(uid)
        ended = bool(pods) and all(pod.finished for pod in pods)
        return Urgency.SOON if ended or job.asked_anew else Urgency.CAN_WAIT

    async def reconcile(self, uid: str) -> float | None:
        """Bring one job to where it should be; returns when to come again, if on no event.

        Raises:
            RetryLater: the API server could not be reached or asked for patience.
        """
        try:
            with self._telemetry.reconcile_seconds.time():
                return await self._reconcile(uid)
        except NotLeading:
            return UNLED_AGAIN_S
        except Unavailable as error:
            raise RetryLater(str(error), error.retry_after_s) from error

    async def _reconcile(self, uid: str) -> float | None:
        confirmed = False
        for _ in range(LOOKS):
            job = self._cache.jobs.get(uid)
            deleting = job is not None and job.id.deleting is not None
            if job is None or (deleting and FINALIZER not in job.finalizers):
                return None
            now = self._now()
            observed = observe(
                self._cache,
                job,
                progress=self._scraper.progress,
                refusal=self._refusal(uid, now),
                confirmed=confirmed,
            )
            decision = decide_removal if deleting else decide
            plan = decision(job, observed, self._settings, now)
            if plan.confirm:
                await self._confirm(job)
                confirmed = True
                continue
            try:
                await self._carry_out(job, observed.child, plan, now)
            except Conflict:
                if not await self._applier.reread_job(job):
                    return None
                continue
            except NotFound:
                return None  # deleted meanwhile; its event is on the way
            except _TryAgain:
                continue
            if plan.finalizer or plan.again:
                continue
            if plan.children:
                return 0.0  # they may have been there for a while, and no event tells of them then
            return plan.again_after_s
        raise RetryLater("the job kept changing while it was decided about")

    async def _confirm(self, job: StoredJob) -> None:
        await self._applier.confirm(job, child_name(job.id.name, job.id.uid, attempt(job)))
        if not begun(job.status()):
            of_cluster = not self._settings.namespaces
            await self._applier.confirm_runtimes(job.id.namespace, of_cluster=of_cluster)

    async def _carry_out(
        self, job: StoredJob, child: ChildJob | None, plan: Plan, now: datetime
    ) -> None:
        uid = job.id.uid
        if plan.children:
            await self._make(job, plan, now)
            if job.new and child is None:
                return  # what is to be told is decided anew, once no other job waits for its child
        if plan.may_run is not None and child is not None:
            await self._applier.let_run(child, may=plan.may_run)
        if plan.child_patch is not None and child is not None:
            await self._applier.patch_child(child, plan.child_patch)
        # what the answer to a write got lost for must be told all the same
        owed = self._owed.setdefault(uid, list[Turn]()) if plan.events else self._owed.get(uid, [])
        owed.extend(turn for turn in plan.events if turn not in owed)
        if plan.status is not None:
            await self._applier.write_status(job, plan.status)
            self._wrote(job, plan)
        while owed:
            await self._applier.tell(job, owed[0], now)
            del owed[0]
        self._owed.pop(uid, None)
        if plan.finalizer is not None:
            await self._applier.set_finalizer(job, there=plan.finalizer)
            logger.info("finalizer %s", "put on" if plan.finalizer else "off", extra=job.facts)
        if plan.delete:
            await self._applier.delete(job)
            logger.info("deleted after its TTL", extra=job.facts)

    async def _make(self, job: StoredJob, plan: Plan, now: datetime) -> None:
        for manifest in plan.children:
            try:
                await self._applier.make(manifest)
            except (Refused, NotFound) as error:
                self._refuse(job, manifest["kind"], str(error), now)
                raise _TryAgain from error
        self._refusals.pop(job.id.uid, None)
        if (seen := self._first_seen.pop(job.id.uid, None)) is not None:
            self._telemetry.apply_seconds.observe(time.monotonic() - seen)

    def _wrote(self, job: StoredJob, plan: Plan) -> None:
        status = plan.status or {}
        if plan.events:
            logger.info(
                plan.events[-1].message,
                extra=job.facts | {"state": status.get("state"), "reason": status.get("reason")},
            )
        self._measure_start(job, status)
        if is_finished(status) and not is_finished(job.status()):
            self._telemetry.job_finished(str(status["state"]), str(status["reason"]))
            ended = self._trainer_ended.pop(job.id.uid, None)
            if ended is not None:
                self._telemetry.finish_seconds.observe(time.monotonic() - ended)

    def _measure_start(self, job: StoredJob, status: dict[str, Any]) -> None:
        started, created = parse_time(status.get("startTime")), parse_time(job.id.created)
        first = "startTime" not in job.status()
        if first and started is not None and created is not None:
            self._telemetry.running_seconds.observe((started - created).total_seconds())

    def _refusal(self, uid: str, now: datetime) -> Refusal | None:
        """What holds the job back; not if only because the clock was set back since."""
        found = self._refusals.get(uid)
        if found is None or found.retry_at - now > timedelta(seconds=REFUSAL_LONGEST_S):
            return None
        return found

    def _refuse(self, job: StoredJob, kind: str, message: str, now: datetime) -> None:
        before = self._refusals.get(job.id.uid)
        attempts = before.attempts + 1 if before else 1
        wait = min(REFUSAL_LONGEST_S, REFUSAL_FIRST_S * 2 ** min(attempts - 1, 10))
        retry_at = now + timedelta(seconds=wait)
        self._refusals[job.id.uid] = Refusal(kind, message, retry_at, attempts)


class _TryAgain(Exception):
    """The world is known better now: decide again."""
