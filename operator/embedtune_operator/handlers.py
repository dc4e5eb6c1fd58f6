"""kopf's side: which objects are watched, and how their events become calls of the controller.

Only `on.event` handlers: kopf's others keep their state in annotations and finalizers on the
user's objects, and this operator leaves no trace there but the status.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import kopf

from embedtune_api import GROUP, PLURAL, VERSION
from embedtune_api.reasons import WAITS_FOR_RUNTIME
from embedtune_api.runtime import CLUSTER_RUNTIME, RUNTIME, RUNTIME_KINDS, plural_of
from embedtune_operator.cache import Cache
from embedtune_operator.children import ChildJob, Pod
from embedtune_operator.connection import Connection
from embedtune_operator.controller import Controller
from embedtune_operator.names import CHILD_SELECTOR
from embedtune_operator.settings import Settings
from embedtune_operator.stateless import NoDiffs, NoProgress
from embedtune_operator.views import StoredJob, StoredRuntime
from embedtune_operator.watching import Watched

JOBS, CHILDREN, PODS = "FineTuneJob", "Job", "Pod"


OURS = f"/apis/{GROUP}/{VERSION}"


def watched(settings: Settings) -> list[Watched]:
    """Everything that is watched."""
    kinds = [
        kind
        for namespace in settings.namespaces or (None,)
        for kind in (
            Watched(JOBS, OURS, PLURAL, namespace, ""),
            Watched(CHILDREN, "/apis/batch/v1", "jobs", namespace, CHILD_SELECTOR),
            Watched(PODS, "/api/v1", "pods", namespace, CHILD_SELECTOR),
            Watched(RUNTIME, OURS, plural_of(RUNTIME), namespace, ""),
        )
    ]
    if not settings.namespaces:  # it would take a ClusterRole
        kinds.append(Watched(CLUSTER_RUNTIME, OURS, plural_of(CLUSTER_RUNTIME), None, ""))
    return kinds


class Events:
    """Takes objects from watches and listings to the controller and, if they are news, queues."""

    def __init__(
        self, cache: Cache, controller: Controller, enqueue: Callable[[str], None]
    ) -> None:
        self._cache = cache
        self._controller = controller
        self._enqueue = enqueue

    def seen(self, kind: str, raw: dict[str, Any], *, fresh: bool = False) -> None:
        """An object is, as it is here."""
        if kind in RUNTIME_KINDS:
            if self._cache.runtimes[kind].put(StoredRuntime.of(kind, raw)):
                self._enqueue_waiting()
            return
        if kind == JOBS:
            job = StoredJob.of(raw)
            news, uid = self._controller.job_seen(job, fresh=fresh), job.id.uid
        elif kind == CHILDREN:
            child = ChildJob.of(raw)
            news, uid = self._controller.child_seen(child), child.owner
        else:
            pod = Pod.of(raw)
            news, uid = self._controller.pod_seen(pod), pod.job_uid
        if news and uid:
            self._enqueue(uid)

    def gone(self, kind: str, uid: str) -> None:
        """An object is deleted."""
        if kind in RUNTIME_KINDS:
            self._cache.runtimes[kind].remove(uid)
            self._enqueue_waiting()
        elif kind == JOBS:
            self._controller.job_gone(uid)
        elif kind == CHILDREN:
            child = self._cache.remove_child(uid)
            if child is not None and child.owner:
                self._enqueue(child.owner)
        else:
            pod = self._cache.remove_pod(uid)
            if pod is not None:
                self._enqueue(pod.job_uid)

    def _enqueue_waiting(self) -> None:
        """A runtime has changed: look at the jobs that could not begin without."""
        for job in self._cache.jobs:
            if job.reason in WAITS_FOR_RUNTIME:
                self._enqueue(job.id.uid)


def registry(events: Events, connection: Connection, settings: Settings) -> kopf.OperatorRegistry:
    """The handlers, in a registry of their own."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(settings: kopf.OperatorSettings, **_: object) -> kopf.AiohttpSession:
        return await connection.login(settings)

    def listen(kind: str, group: str, version: str, plural: str) -> None:
        @kopf.on.event(group, version, plural, registry=handlers, id=f"{kind}-event")
        async def on_event(event: kopf.RawEvent, **_: object) -> None:
            raw = cast(dict[str, Any], event["object"])
            if event["type"] == "DELETED":
                events.gone(kind, raw["metadata"]["uid"])
            else:
                events.seen(kind, raw, fresh=event["type"] == "ADDED")

    listen(JOBS, GROUP, VERSION, PLURAL)
    listen(CHILDREN, "batch", "v1", "jobs")
    listen(PODS, "", "v1", "pods")
    for kind in (RUNTIME,) if settings.namespaces else RUNTIME_KINDS:
        listen(kind, GROUP, VERSION, plural_of(kind))
    return handlers


class _Backoffs:
    """Delays between kopf's attempts, without an end: the watches outlive any outage."""

    def __iter__(self) -> Iterator[float]:
        delay = 0.2
        while True:
            yield delay
            delay = min(5.0, delay * 2)


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """Kopf without what it would write, and with watches that are renewed often."""
    ours = kopf.OperatorSettings()
    ours.posting.enabled = False
    ours.scanning.disabled = True  # neither namespaces nor CRDs are listed
    ours.peering.standalone = True
    ours.persistence.diffbase_storage = NoDiffs()
    ours.persistence.progress_storage = NoProgress()
    ours.watching.server_timeout = settings.watch_timeout_s
    ours.watching.inactivity_timeout = settings.watch_timeout_s + 5.0
    ours.watching.chunk_size = 100  # whole objects are held for a page at a time
    ours.queueing.idle_timeout = 0.5  # and a task with its last event this long for each object
    ours.watching.label_selectors["batch", "v1", "jobs"] = CHILD_SELECTOR
    ours.watching.label_selectors["", "v1", "pods"] = CHILD_SELECTOR
    ours.networking.request_timeout = 30.0
    ours.networking.connect_timeout = 5.0
    ours.networking.error_backoffs = _Backoffs()
    return ours
