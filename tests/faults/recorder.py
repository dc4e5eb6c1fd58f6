"""Writes down all that ever was in a control plane's namespaces, from watches of its own.

So a test can say of a whole life, and not only of its end, that nothing was made twice and that a
job which had finished was never anything else again.
"""

import asyncio
import json
from collections import defaultdict
from typing import Any

import aiohttp

JsonObject = dict[str, Any]
PATHS = {
    "finetunejobs": "/apis/embedtune.dev/v1alpha1/finetunejobs",
    "jobs": "/apis/batch/v1/jobs",
    "pods": "/api/v1/pods",
    "configmaps": "/api/v1/configmaps",
    "events": "/api/v1/events",
    "serviceaccounts": "/api/v1/serviceaccounts",
}
TERMINAL = ("Complete", "Failed")


class Life:
    """What happened in one namespace."""

    def __init__(self) -> None:
        self.statuses: list[JsonObject] = []
        """Of its one FineTuneJob, in the order in which they were written."""
        self.made: dict[str, dict[str, str]] = defaultdict(dict)
        """Of each kind: uids and names, in the order in which they were made."""
        self.now: dict[str, dict[str, JsonObject]] = defaultdict(dict)
        """Of each kind: what there is, by uid."""
        self.most_pods = 0
        """At once, of those that are neither over nor told to go."""

    @property
    def status(self) -> JsonObject:
        """As it is."""
        return self.statuses[-1] if self.statuses else {}

    def names(self, plural: str) -> list[str]:
        """Of all that was ever made of a kind."""
        return list(self.made[plural].values())

    def latched(self) -> bool:
        """Whether a terminal condition, once there, stayed as it was."""
        ends = [
            (c["type"], c["reason"], c["message"], c["lastTransitionTime"])
            for status in self.statuses
            for c in status.get("conditions", ())
            if c["type"] in TERMINAL and c["status"] == "True"
        ]
        first = next((n for n, s in enumerate(self.statuses) if _over(s)), len(self.statuses))
        return len(set(ends)) <= 1 and len(ends) == len(self.statuses[first:])

    def take(self, plural: str, event: JsonObject) -> None:
        """One event of a watch."""
        item = event["object"]
        uid = item["metadata"]["uid"]
        if event["type"] == "DELETED":
            self.now[plural].pop(uid, None)
            return
        self.made[plural].setdefault(uid, item["metadata"]["name"])
        self.now[plural][uid] = item
        if plural == "finetunejobs" and item["status"] != self.status:
            self.statuses.append(item["status"])
        if plural == "pods":
            self.most_pods = max(self.most_pods, sum(map(_goes_on, self.now["pods"].values())))


def _over(status: JsonObject) -> bool:
    return any(
        c["type"] in TERMINAL and c["status"] == "True" for c in status.get("conditions", ())
    )


def _goes_on(pod: JsonObject) -> bool:
    over = pod["status"].get("phase") in ("Succeeded", "Failed")
    return not over and "deletionTimestamp" not in pod["metadata"]


class Recorder:
    """See the module; a context manager."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.lives: dict[str, Life] = defaultdict(Life)
        """By namespace."""

    async def __aenter__(self) -> "Recorder":
        self._tasks = [asyncio.create_task(self._follow(plural)) for plural in PATHS]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, plural: str) -> None:
        url = self._url + PATHS[plural]
        version = ""
        while not version:  # a new CRD is not served at once
            async with self._session.get(url) as answer:
                version = (await answer.json())["metadata"].get("resourceVersion", "")
            await asyncio.sleep(0.05)
        while True:
            params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3000"}
            async with self._session.get(url, params=params) as answer:
                async for line in answer.content:
                    event = json.loads(line)
                    assert event["type"] != "ERROR", event
                    version = event["object"]["metadata"]["resourceVersion"]
                    self.lives[event["object"]["metadata"]["namespace"]].take(plural, event)
