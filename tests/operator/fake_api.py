"""An API server in a dictionary, which fails on demand, and an operator around it.

It has the API's rules that matter to correctness: uids, resource versions with optimistic locks,
names that exist once. Each write can be made to fail, before or after
it was done, and what the watches deliver can be held back.
"""

import copy
import itertools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from embedtune_api.runtime import RUNTIME_KINDS, plural_of
from embedtune_operator.apply import Applier, job_path
from embedtune_operator.cache import Cache
from embedtune_operator.client import AlreadyExists, ApiError, Client, Conflict, NotFound
from embedtune_operator.controller import Controller
from embedtune_operator.handlers import CHILDREN, JOBS, OURS, PODS, Events
from embedtune_operator.resync import Resync
from embedtune_operator.scrape import Scraper
from embedtune_operator.settings import Settings
from embedtune_operator.telemetry import Telemetry
from embedtune_operator.watching import Watched
from embedtune_operator.workqueue import RetryLater
from tests.operator.objects import NOW, SETTINGS, UID, raw_job

JsonObject = dict[str, Any]

KINDS = {
    "finetunejobs": Watched(JOBS, OURS, "finetunejobs", None, ""),
    "jobs": Watched(CHILDREN, "/apis/batch/v1", "jobs", None, ""),
    "pods": Watched(PODS, "/api/v1", "pods", None, ""),
    **{plural_of(kind): Watched(kind, OURS, plural_of(kind), None, "") for kind in RUNTIME_KINDS},
}
JOB_PATH = job_path("search", "tune")


class Crash(BaseException):
    """The operator's process ends here."""


class FakeApi(Client):
    """See the module."""

    def __init__(self) -> None:
        self.objects: dict[str, JsonObject] = {}
        self.writes: list[str] = []
        self.made: list[str] = []
        self.fault: tuple[int, str, BaseException] | None = None
        """Number of the write that fails, `before` or `after` it is done, and how."""
        self._versions = itertools.count(100)

    async def apply(self, path: str, body: JsonObject) -> JsonObject:
        return self._write(f"apply {path}", lambda: self._apply(path, body))

    async def merge(self, path: str, body: JsonObject) -> JsonObject:
        return self._write(f"merge {path}", lambda: self._merge(path, body))

    async def create(self, path: str, body: JsonObject) -> JsonObject:
        return self._write(f"create {path}", lambda: self._create(path, body))

    async def delete(self, path: str, uid: str, resource_version: int) -> None:
        self._write(f"delete {path}", lambda: self._delete(path, uid, str(resource_version)))

    async def get(self, path: str) -> JsonObject | None:
        return copy.deepcopy(self.objects.get(path))

    async def list(
        self, path: str, selector: str = ""
    ) -> AsyncIterator[tuple[int, "list[JsonObject]"]]:
        plural = path.rpartition("/")[2]
        found = [copy.deepcopy(v) for name, v in self.objects.items() if f"/{plural}/" in name]
        yield next(self._versions), found

    def put(self, path: str, item: JsonObject) -> JsonObject:
        """Store an object as it is, with a new version."""
        item["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[path] = item
        return item

    def _write(self, name: str, act: Any) -> JsonObject:
        self.writes.append(name)
        number, when, error = self.fault or (-1, "", Crash())
        hit = len(self.writes) - 1 == number
        if hit and when == "before":
            raise error
        done: JsonObject = copy.deepcopy(act())
        if hit:
            raise error
        return done

    def _apply(self, path: str, body: JsonObject) -> JsonObject:
        if path.endswith("/status"):
            return self._apply_status(path.removesuffix("/status"), body)
        if path == JOB_PATH:
            return self._set_finalizers(path, body)
        raise AssertionError(f"nobody applies a {path}")

    def _apply_status(self, path: str, body: JsonObject) -> JsonObject:
        stored = self._very(path, body["metadata"])
        return self.put(path, stored | {"status": copy.deepcopy(body["status"])})

    def _set_finalizers(self, path: str, body: JsonObject) -> JsonObject:
        stored = copy.deepcopy(self._very(path, body["metadata"]))
        stored["metadata"]["finalizers"] = body["metadata"].get("finalizers", [])
        if "deletionTimestamp" in stored["metadata"] and not stored["metadata"]["finalizers"]:
            return self.objects.pop(path)
        return self.put(path, stored)

    def _delete(self, path: str, uid: str, version: str) -> JsonObject:
        self._very(path, {"uid": uid, "resourceVersion": version})
        return self.objects.pop(path)

    def _very(self, path: str, meta: JsonObject) -> JsonObject:
        stored = self.objects.get(path)
        if stored is None:
            raise NotFound("no such job")
        for key in ("uid", "resourceVersion"):
            if stored["metadata"][key] != meta[key]:
                raise Conflict(f"another {key}")
        return stored

    def _merge(self, path: str, body: JsonObject) -> JsonObject:
        stored = self.objects.get(path)
        if stored is None:
            raise NotFound("no such child")
        spec = stored["spec"] | body["spec"]
        kept = {key: value for key, value in spec.items() if value is not None}
        return self.put(path, stored | {"spec": kept})

    def _create(self, path: str, body: JsonObject) -> JsonObject:
        name = f"{path}/{body['metadata']['name']}"
        if name in self.objects:
            raise AlreadyExists("exists")
        return self._make(name, body)

    def _make(self, path: str, body: JsonObject) -> JsonObject:
        item = copy.deepcopy(body)
        item["metadata"] |= {
            "uid": f"uid-{len(self.made)}",
            "creationTimestamp": "2026-11-24T12:00:00Z",
        }
        if "/jobs/" in path:
            item["spec"].setdefault("suspend", False)  # as the API server does
        self.made.append(path)
        return self.put(path, item)


class FakeOperator:
    """A controller over a FakeApi, which can be killed and started again."""

    def __init__(self, api: FakeApi, settings: Settings = SETTINGS) -> None:
        self.api = api
        self.settings = settings
        self.now: datetime = NOW
        self.start()

    def start(self) -> None:
        """A new process: nothing is known but what can be listed."""
        self.queued: set[str] = set()
        self.cache = Cache()
        scraper = Scraper(interval_s=5, on_change=self.queued.add)
        self.telemetry = Telemetry()
        self.controller = Controller(
            cache=self.cache,
            applier=Applier(self.api, self.cache),
            scraper=scraper,
            settings=self.settings,
            telemetry=self.telemetry,
            now=lambda: self.now,
        )
        self.events = Events(self.cache, self.controller, self.queued.add)
        self.resync = Resync(self.api, self.cache, self.events, list(KINDS.values()), every_s=600)
        self.deliver()

    def deliver(self, *plurals: str) -> None:
        """The watches bring everything up to date."""
        for path, item in self.api.objects.items():
            kind = KINDS.get(path.split("/")[-2])
            if kind is not None and (not plurals or kind.plural in plurals):
                self.events.seen(kind.kind, copy.deepcopy(item))

    async def settle(self, *, deliver: bool = True) -> None:
        """Reconcile until there is nothing left to do, through errors and crashes."""
        self.queued.add(UID)
        for _ in range(40):
            if not self.queued:
                return
            self.queued.clear()
            try:
                if await self.controller.reconcile(UID) == 0.0:
                    self.queued.add(UID)
            except (RetryLater, ApiError):
                self.queued.add(UID)
                self.now += timedelta(seconds=1)
            except Crash:
                self.start()
            if deliver:
                self.deliver()
        raise AssertionError("never settles")

    async def pass_time(self, seconds: float) -> None:
        """A timer runs out."""
        self.now += timedelta(seconds=seconds)
        await self.settle()


def submitted(**spec: Any) -> FakeApi:
    """An API server with one FineTuneJob."""
    api = FakeApi()
    api.put(JOB_PATH, raw_job(**spec))
    return api
