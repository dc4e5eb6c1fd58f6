"""Which of several replicas works: the one that holds a Lease, as in Kubernetes' own controllers.

All replicas watch, so that any can take over at once; only the leader writes. A leader believes in
its Lease for RENEW_WITHIN_S after it sent the renewal, and the others wait until LEASE_S have
passed since they saw it renewed, each by its own monotonic clock: no two clocks need to agree. A
write that was on its way all the same does no harm, since each is repeatable or bound to a
resourceVersion.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from embedtune_operator.client import ApiError, Client, Conflict

logger = logging.getLogger(__name__)

LEASE_S = 8
"""What the Lease promises after each renewal."""
RENEW_WITHIN_S = 5.0
"""A leader that has not renewed for so long stops; well before another may begin."""
RETRY_S = 1.5
"""Between two looks at the Lease."""

JsonObject = dict[str, Any]


class Leadership:
    """One replica's part in the election."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Identity: of this very process, not of its pod, which another process may have had."""
        self._client = client
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._held_until = float("-inf")
        self._version = ""
        self._version_seen = float("-inf")

    @property
    def held(self) -> bool:
        """Whether this replica leads at this moment."""
        return self._clock() < self._held_until

    async def run(self, gained: Callable[[], None], lost: Callable[[], None]) -> None:
        """Take part for ever, and call back at each change."""
        leading = False
        while True:
            try:
                async with asyncio.timeout(RENEW_WITHIN_S):
                    await self.once()
            except (ApiError, TimeoutError) as error:
                logger.warning("Lease not read or renewed: %s", error or "no answer")
            if self.held != leading:
                leading = self.held
                logger.info("leads" if leading else "does not lead any more")
                (gained if leading else lost)()
            await asyncio.sleep(RETRY_S)

    async def once(self) -> None:
        """Take or renew the Lease, unless another replica has it.

        Raises:
            ApiError: it could not be; if the Lease was held, it is until its time is over.
        """
        began = self._clock()
        lease = await self._client.get(f"{self._leases}/{self._name}")
        if lease is not None and self._is_anothers(lease, began):
            self._held_until = float("-inf")
            return
        try:
            await self._take(lease)
        except Conflict:  # another was quicker
            return
        self._held_until = began + RENEW_WITHIN_S

    async def release(self) -> None:
        """Give the Lease up, so that another replica need not wait for its end.

        Raises:
            ApiError: it could not be told; the others wait.
        """
        if not self.held:
            return
        self._held_until = float("-inf")
        lease = await self._client.get(f"{self._leases}/{self._name}")
        if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
            transitions = lease["spec"].get("leaseTransitions", 0)
            await self._write(lease, {"leaseDurationSeconds": 1, "leaseTransitions": transitions})

    def _is_anothers(self, lease: JsonObject, now: float) -> bool:
        version = lease["metadata"]["resourceVersion"]
        if version != self._version:
            self._version, self._version_seen = version, now
        spec = lease["spec"]
        if spec.get("holderIdentity") in (None, "", self._identity):
            return False
        return now - self._version_seen < float(spec.get("leaseDurationSeconds", LEASE_S))

    async def _take(self, lease: JsonObject | None) -> None:
        spec = lease["spec"] if lease is not None else {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = spec.get("holderIdentity") == self._identity
        fields = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": spec["acquireTime"] if mine else now,
            "renewTime": now,
            "leaseTransitions": spec.get("leaseTransitions", -1) + (0 if mine else 1),
        }
        await self._write(lease, fields)

    async def _write(self, lease: JsonObject | None, spec: JsonObject) -> None:
        body: JsonObject = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }
        if lease is None:
            await self._client.create(self._leases, body)
            return
        body["metadata"]["resourceVersion"] = lease["metadata"]["resourceVersion"]
        await self._client.apply(f"{self._leases}/{self._name}", body)
