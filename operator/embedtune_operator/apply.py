"""Carries a plan out: children, then one status patch, then events."""

import logging
from datetime import datetime

from embedtune_api import API_VERSION, KIND, PLURAL
from embedtune_api.runtime import RUNTIME, RUNTIME_KINDS, plural_of
from embedtune_operator import queues
from embedtune_operator.cache import Cache
from embedtune_operator.children import ChildJob, Pod
from embedtune_operator.client import (
    AlreadyExists,
    Client,
    JsonObject,
    NotFound,
    Refused,
)
from embedtune_operator.names import FINALIZER, LABEL_JOB_UID, MANAGER
from embedtune_operator.turns import Turn
from embedtune_operator.views import StoredJob, StoredRuntime

logger = logging.getLogger(__name__)

JOBS_API = f"/apis/{API_VERSION}"
CHILD_KINDS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Service": ("/api/v1", "services"),
    "Job": ("/apis/batch/v1", "jobs"),
}


def job_path(namespace: str, name: str) -> str:
    """URL path of a FineTuneJob."""
    return f"{JOBS_API}/namespaces/{namespace}/{PLURAL}/{name}"


def child_path(namespace: str, name: str) -> str:
    """URL path of a child Job."""
    return f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"


def _very(job: StoredJob) -> JsonObject:
    """What an apply begins with to be refused unless the job is the one that is meant."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": job.id.name,
            "namespace": job.id.namespace,
            "uid": job.id.uid,
            "resourceVersion": str(job.id.resource_version),
        },
    }


class Applier:
    """Writes to the API server, and takes what it answers into the cache at once.

    So the next decision rests on what was written, even if the watch is late.
    """

    def __init__(self, client: Client, cache: Cache) -> None:
        self._client = client
        self._cache = cache

    async def make(self, manifest: JsonObject) -> None:
        """Make one child, if it is not there.

        Raises:
            Refused: the API server does not let it be.
            Conflict: it could not say whether it lets it be, as with a quota that others use.
        """
        meta = manifest["metadata"]
        group, plural = CHILD_KINDS[manifest["kind"]]
        kind = f"{group}/namespaces/{meta['namespace']}/{plural}"
        is_job = manifest["kind"] == "Job"
        made: JsonObject | None
        try:
            made = await self._client.create(kind, manifest)
        except AlreadyExists:
            # its name has the job's uid, so it is the job's; one that was made by an operator with
            # other settings could not be changed into this, and need not be
            made = await self._client.get(f"{kind}/{meta['name']}") if is_job else None
        if is_job and made is not None:
            self._cache.put_child(ChildJob.of(made))

    async def patch_child(self, child: ChildJob, patch: JsonObject) -> None:
        """Change the child Job; one that has gone needs no change."""
        try:
            answer = await self._client.merge(child_path(child.id.namespace, child.id.name), patch)
        except NotFound:
            return
        self._cache.put_child(ChildJob.of(answer))

    async def let_run(self, child: ChildJob, *, may: bool) -> None:
        """Have Kueue hold a child Job back, or not any more.

        Kueue starts a Job that it has let in again and again, whoever suspends it; its own word for
        one that is to wait is its Workload's spec.active. Where there is no Kueue there is nothing
        to tell it.
        """
        selector = f"{queues.WORKLOAD_OF}={child.id.uid}"
        try:
            kueue = await self._client.get(queues.KUEUE)
            if kueue is None:
                return
            version = kueue["preferredVersion"]["groupVersion"]  # others are deprecated, or gone
            path = f"/apis/{version}/namespaces/{child.id.namespace}/workloads"
            async for _, workloads in self._client.list(path, selector):
                for workload in workloads:
                    if workload.get("spec", {}).get("active", True) != may:
                        name = workload["metadata"]["name"]
                        await self._client.merge(f"{path}/{name}", {"spec": {"active": may}})
        except (NotFound, Refused) as error:
            logger.warning("Kueue's Workload not changed", extra={"error": str(error)})

    async def write_status(self, job: StoredJob, status: JsonObject) -> None:
        """Write the status of that very job, as it was when the decision was made.

        Raises:
            Conflict: it has changed since, and the decision must be made again.
            NotFound: it has gone.
        """
        path = f"{job_path(job.id.namespace, job.id.name)}/status"
        body = _very(job) | {"status": status}
        self._cache.put_job(StoredJob.of(await self._client.apply(path, body)))

    async def set_finalizer(self, job: StoredJob, *, there: bool) -> None:
        """Have the operator's finalizer on that very job, or not; no other is touched.

        Raises:
            Conflict: it has changed since, and the decision must be made again.
            NotFound: it has gone.
        """
        body = _very(job)
        if there:  # what an apply leaves out that the same manager applied before is taken away
            body["metadata"]["finalizers"] = [FINALIZER]
        answer = await self._client.apply(job_path(job.id.namespace, job.id.name), body)
        self._cache.put_job(StoredJob.of(answer))

    async def delete(self, job: StoredJob) -> None:
        """Delete that very job, and its children after it.

        Raises:
            Conflict: it has changed since, and the decision must be made again.
            NotFound: it has gone.
        """
        path = job_path(job.id.namespace, job.id.name)
        await self._client.delete(path, job.id.uid, job.id.resource_version)

    async def tell(self, job: StoredJob, turn: Turn, now: datetime) -> None:
        """Post one Event; one that was posted before, or is refused, is let go.

        Raises:
            Conflict, Unavailable: it should be posted again.
        """
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": turn.name, "namespace": job.id.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": job.id.namespace,
                "name": job.id.name,
                "uid": job.id.uid,
                "resourceVersion": str(job.id.resource_version),
            },
            "type": "Warning" if turn.warning else "Normal",
            "reason": turn.reason,
            "message": turn.message,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
        }
        try:
            await self._client.create(f"/api/v1/namespaces/{job.id.namespace}/events", body)
        except AlreadyExists:
            pass
        except (Refused, NotFound) as error:
            logger.warning("event not posted", extra={"error": str(error), "event": turn.reason})

    async def reread_job(self, job: StoredJob) -> bool:
        """Take the job in as it is now; False if this very job is gone."""
        raw = await self._client.get(job_path(job.id.namespace, job.id.name))
        if raw is None or raw["metadata"]["uid"] != job.id.uid:
            return False
        self._cache.put_job(StoredJob.of(raw))
        return True

    async def confirm(self, job: StoredJob, child_name: str) -> None:
        """Read the job's child of this name, and its pods, from the API server itself."""
        namespace, uid = job.id.namespace, job.id.uid
        held = self._cache.child_of(uid, child_name)
        raw = await self._client.get(child_path(namespace, child_name))
        if held is not None and (raw is None or raw["metadata"]["uid"] != held.id.uid):
            self._cache.remove_child(held.id.uid)
        if raw is not None:
            self._cache.put_child(ChildJob.of(raw))
        path, selector = f"/api/v1/namespaces/{namespace}/pods", f"{LABEL_JOB_UID}={uid}"
        there, as_of = set(), 0
        async for version, page in self._client.list(path, selector):
            as_of = version
            for pod in map(Pod.of, page):
                self._cache.put_pod(pod)
                there.add(pod.id.uid)
        for pod in self._cache.pods_of(uid):
            if pod.id.uid not in there and pod.id.resource_version <= as_of:
                self._cache.remove_pod(pod.id.uid)

    async def confirm_runtimes(self, namespace: str, *, of_cluster: bool) -> None:
        """Read the runtimes that jobs of this namespace can use from the API server itself."""
        for kind in RUNTIME_KINDS if of_cluster else (RUNTIME,):
            where = f"namespaces/{namespace}/" if kind == RUNTIME else ""
            async for _, page in self._client.list(f"{JOBS_API}/{where}{plural_of(kind)}"):
                for raw in page:
                    self._cache.runtimes[kind].put(StoredRuntime.of(kind, raw))
