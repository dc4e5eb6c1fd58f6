"""Watches a system's objects, prints each first sighting: python -m scale_parts.observer

It is a process of its own so that the load's does not delay its clock. Its argument is JSON
with url, authority, certificate, key and kinds (fields of Kind). A watch that ends before its time
makes it fail: what it would have missed cannot be known.
"""

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import aiohttp

from scale_parts.sightings import FINISHED, GONE, JOB, MADE, POD, SUCCEEDED, Sighting
from scale_parts.systems import Kind

LINE_MAX = 4 << 20
WATCH_S = 6 * 3600
DONE = ("Complete", "Succeeded")
"""Conditions of which one, being True, finishes a job of any of the systems."""


class Reader:
    """Turns the events of one kind into first sightings."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._told: set[tuple[str, str]] = set()

    def read(self, event: dict[str, Any], t: float) -> Iterator[Sighting]:
        """What the event shows for the first time.

        Raises:
            RuntimeError: the event is an error.
        """
        item = event["object"]
        if event["type"] == "ERROR":
            raise RuntimeError(f"the watch of {self._kind.plural} broke: {item}")
        meta = item["metadata"]
        label = self._kind.label
        job = meta.get("labels", {}).get(label, "") if label else meta["name"]
        for state in self._states(event["type"], item):
            if (meta["uid"], state) not in self._told:
                self._told.add((meta["uid"], state))
                yield Sighting(t, self._kind.role, job, meta["uid"], state)

    def _states(self, event: str, item: dict[str, Any]) -> Iterator[str]:
        role, status = self._kind.role, item.get("status") or {}
        yield MADE
        if role == POD and status.get("phase") == "Succeeded":
            yield SUCCEEDED
        if role == JOB:
            conditions = status.get("conditions") or ()
            if any(c["type"] in DONE and c["status"] == "True" for c in conditions):
                yield FINISHED
            if event == "DELETED":
                yield GONE


async def _watch(session: aiohttp.ClientSession, url: str, kind: Kind) -> None:
    """One kind for ever; a watch that the API server ends goes on behind what was seen last."""
    reader = Reader(kind)
    params = {"watch": "true", "timeoutSeconds": str(WATCH_S)}
    if kind.label:
        params["labelSelector"] = kind.label
    while True:
        async with session.get(url + kind.path, params=params) as response:
            response.raise_for_status()
            if "resourceVersion" not in params:
                print(json.dumps({"watching": kind.role}), flush=True)
            async for line in response.content:
                t = time.monotonic()
                event = json.loads(line)
                for sighting in reader.read(event, t):
                    print(json.dumps(asdict(sighting)), flush=True)
                params["resourceVersion"] = event["object"]["metadata"]["resourceVersion"]


async def main(argument: str) -> None:
    """Watch until ended."""
    given = json.loads(argument)
    tls = ssl.create_default_context(cafile=given["authority"])
    tls.load_cert_chain(given["certificate"], given["key"])
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=LINE_MAX,
    ) as session:
        kinds = [Kind(**kind) for kind in given["kinds"]]
        await asyncio.gather(*(_watch(session, given["url"], kind) for kind in kinds))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
