"""What is known of the cluster, in memory, fed by the watches and by the operator's own writes.

An object is taken in only if it is newer than what is held, and never after its deletion was seen:
a watch, a listing and the answer to a patch may arrive in any order.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar, cast

from embedtune_api.runtime import RUNTIME_KINDS
from embedtune_operator.children import ChildJob, Pod
from embedtune_operator.views import Identity, StoredJob, StoredRuntime

_GRAVES = 10_000


class _Viewed(Protocol):
    @property
    def id(self) -> Identity: ...


V = TypeVar("V", bound=_Viewed)


class Shelf(Generic[V]):
    """All objects of one kind by uid, with the sequence number of each one's last sighting."""

    def __init__(self) -> None:
        self._items: dict[str, V] = {}
        self._seen: dict[str, int] = {}
        self._graves: dict[str, None] = {}
        self._grave_order: deque[str] = deque()
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[V]:
        return iter(self._items.values())

    def get(self, uid: str) -> V | None:
        """The object, if there is one."""
        return self._items.get(uid)

    @property
    def sequence(self) -> int:
        """Number of the latest sighting of any object."""
        return self._sequence

    def put(self, item: V) -> bool:
        """Take an object in; whether it is news, that is, anything that is looked at has changed.

        Most of what is written into a Job's or a pod's status is nothing that decisions rest on.
        """
        uid = item.id.uid
        if uid in self._graves:
            return False
        self._sequence += 1
        self._seen[uid] = self._sequence
        held = self._items.get(uid)
        if held is not None and held.id.resource_version >= item.id.resource_version:
            return False
        self._items[uid] = item
        return held is None or not _alike(held, item)

    def remove(self, uid: str) -> V | None:
        """The object is deleted; what was held of it."""
        if uid not in self._graves:
            self._graves[uid] = None
            self._grave_order.append(uid)
            if len(self._grave_order) > _GRAVES:
                del self._graves[self._grave_order.popleft()]
        self._seen.pop(uid, None)
        return self._items.pop(uid, None)

    def unseen_since(self, sequence: int) -> list[V]:
        """Objects with no sighting after that one."""
        return [item for uid, item in self._items.items() if self._seen[uid] <= sequence]


def _alike(held: _Viewed, item: _Viewed) -> bool:
    """Whether two views of an object differ in nothing but its version."""
    same_version = replace(item.id, resource_version=held.id.resource_version)
    return bool(replace(cast(Any, item), id=same_version) == held)


class Cache:
    """FineTuneJobs, their Jobs and their pods, and the runtimes they are run by."""

    def __init__(self) -> None:
        self.jobs: Shelf[StoredJob] = Shelf()
        self.children: Shelf[ChildJob] = Shelf()
        self.pods: Shelf[Pod] = Shelf()
        self.runtimes: dict[str, Shelf[StoredRuntime]] = {kind: Shelf() for kind in RUNTIME_KINDS}
        self._children_of: dict[str, set[str]] = {}
        self._pods_of: dict[str, set[str]] = {}

    def put_job(self, job: StoredJob) -> bool:
        """Take a FineTuneJob in; whether it is news."""
        return self.jobs.put(job)

    def put_child(self, child: ChildJob) -> bool:
        """Take a child Job in; whether it is news."""
        news = self.children.put(child)
        if news and child.owner:
            self._children_of.setdefault(child.owner, set()).add(child.id.uid)
        return news

    def put_pod(self, pod: Pod) -> bool:
        """Take a pod in; whether it is news."""
        news = self.pods.put(pod)
        if news:
            self._pods_of.setdefault(pod.job_uid, set()).add(pod.id.uid)
        return news

    def remove_job(self, uid: str) -> StoredJob | None:
        """A FineTuneJob is deleted."""
        return self.jobs.remove(uid)

    def remove_child(self, uid: str) -> ChildJob | None:
        """A child Job is deleted."""
        child = self.children.remove(uid)
        if child is not None and (uids := self._children_of.get(child.owner)):
            uids.discard(uid)
            if not uids:
                del self._children_of[child.owner]
        return child

    def remove_pod(self, uid: str) -> Pod | None:
        """A pod is deleted."""
        pod = self.pods.remove(uid)
        if pod is not None and (uids := self._pods_of.get(pod.job_uid)):
            uids.discard(uid)
            if not uids:
                del self._pods_of[pod.job_uid]
        return pod

    def runtimes_for(self, namespace: str) -> tuple[StoredRuntime, ...]:
        """Those that a job of this namespace can use."""
        shelves = self.runtimes.values()
        return tuple(r for shelf in shelves for r in shelf if r.id.namespace in ("", namespace))

    def has_child(self, job_uid: str) -> bool:
        """Whether any Job of this FineTuneJob's is known."""
        return job_uid in self._children_of

    def child_of(self, job_uid: str, name: str) -> ChildJob | None:
        """The FineTuneJob's Job of this name; of two, the one that was made last."""
        found = map(self.children.get, self._children_of.get(job_uid, ()))
        named = [child for child in found if child is not None and child.id.name == name]
        return max(named, key=lambda child: child.id.resource_version, default=None)

    def pods_of(self, job_uid: str) -> tuple[Pod, ...]:
        """A FineTuneJob's pods, oldest first."""
        found: Iterable[Pod | None] = map(self.pods.get, self._pods_of.get(job_uid, ()))
        pods = [pod for pod in found if pod is not None]
        return tuple(sorted(pods, key=lambda pod: (pod.id.created, pod.id.resource_version)))
