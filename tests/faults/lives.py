"""Lives of a FineTuneJob against a real control plane, the test in the parts of user and kubelet.

Each step waits for what the operator says of the one before, so that every life makes the same
writes in the same order, and a fault can be put at each of them.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.faults.recorder import JsonObject, Life
from tests.operator.world import Namespace, failure

WITHIN_S = 60.0
TTL_S = 3600
GOES = {"uri": "s3://models/tuned", "retain": False}


class NeverCame(AssertionError):
    """A step waited in vain."""


class Player:
    """The user and the kubelet of one namespace."""

    def __init__(self, ns: Namespace, life: Life) -> None:
        self.ns = ns
        self.life = life
        self.gone: set[str] = set()
        """Pods that are over."""

    async def do(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """What is done to the API server, beside the event loop."""
        return await asyncio.to_thread(call, *args, **named)

    async def until(self, look: Callable[[], Any], what: str) -> Any:
        """The first truthy value that `look` gives."""
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            if found := look():
                return found
            await asyncio.sleep(0.03)
        raise NeverCame(f"{what} never came; {self.life.status.get('reason')} stands")

    async def says(self, reason: str, words: str = "") -> None:
        """Wait for the status to say this."""

        def look() -> bool:
            status = self.life.status
            said: JsonObject = next(
                (c for c in status.get("conditions", ()) if c["type"] == "Running"), {}
            )
            return status.get("reason") == reason and words in said.get("message", "")

        await self.until(look, f"{reason} {words}".strip())

    async def submit(self, **spec: Any) -> None:
        """As a user."""
        policy = {"ttlSecondsAfterFinished": TTL_S} | spec.pop("runPolicy", {})
        await self.do(self.ns.submit, runPolicy=policy, **spec)

    async def change(self, **spec: Any) -> None:
        """As a user."""
        await self.do(self.ns.patch, "finetunejobs", "tune", {"spec": spec})

    async def pod(self) -> str:
        """The newest, once there is one that goes on."""

        def look() -> list[str]:
            pods = self.life.now["pods"].values()
            return [p["metadata"]["name"] for p in pods if p["metadata"]["name"] not in self.gone]

        found: str = (await self.until(look, "a pod"))[-1]
        return found

    async def start(self) -> str:
        """Bring a pod to where the trainer runs."""
        pod = await self.pod()
        await self.says("PodPending", "waits for a node")
        await self.do(self.ns.bind, pod)
        await self.says("PodPending", "being started")
        await self.do(self.ns.run, pod)
        await self.says("Training", pod)
        return pod

    async def end(self, pod: str, code: int, message: str = "", reason: str = "") -> None:
        """The trainer ends."""
        self.gone.add(pod)
        await self.do(self.ns.end, pod, code, message, reason)

    async def let_go(self, pod: str, code: int) -> None:
        """The trainer ends because its pod is told to go, which then goes."""

        def told() -> bool:
            pods = self.life.now["pods"].values()
            return any(
                "deletionTimestamp" in p["metadata"] for p in pods if p["metadata"]["name"] == pod
            )

        await self.until(told, "the pod's deletion")
        await self.end(pod, code)
        await self.do(self.ns.delete, "pods", pod)

    async def succeed(self, pod: str) -> None:
        """The trainer ends well, and the operator has done its last."""
        await self.end(pod, 0, await self.do(self.ns.result))
        await self.says("Succeeded")

    async def tidied(self) -> None:
        """The last child Job has its TTL."""

        def look() -> bool:
            jobs = self.life.now["jobs"].values()
            return any(j["spec"].get("ttlSecondsAfterFinished") == TTL_S for j in jobs)

        await self.until(look, "the TTL")


async def retried(player: Player) -> None:
    """One attempt fails, the next one succeeds."""
    await player.submit()
    first = await player.start()
    await player.end(first, 80, failure("StorageUnavailable", "no answer"))
    await player.says("Retrying")
    await player.succeed(await player.start())
    await player.tidied()


async def suspended(player: Player) -> None:
    """It is suspended while it trains, and resumed."""
    await player.submit()
    first = await player.start()
    await player.change(suspend=True)
    await player.says("Suspending", "write a checkpoint")
    await player.let_go(first, 81)
    await player.says("Suspended")
    await player.change(suspend=False)
    await player.succeed(await player.start())
    await player.tidied()


async def more_memory(player: Player) -> None:
    """Its pod runs out of memory, and another Job has more."""
    await player.submit(runPolicy={"onOutOfMemory": "moreMemory"})
    first = await player.start()
    await player.end(first, 137, reason="OOMKilled")
    await player.until(lambda: player.life.status.get("memory"), "more memory")
    await player.succeed(await player.start())
    await player.tidied()


async def failed(player: Player) -> None:
    """Its data is bad."""
    await player.submit()
    first = await player.start()
    await player.end(first, 65, failure("BadData", "train.csv row 7, column label: blank cell"))
    await player.says("BadData")
    await player.tidied()


async def removed(player: Player) -> None:
    """It is deleted while it trains, with all it wrote."""
    await player.submit(output=GOES)
    first = await player.start()
    await player.do(player.ns.delete, "finetunejobs", "tune")
    await player.let_go(first, 81)
    remover = await player.pod()
    await player.do(player.ns.bind, remover)
    await player.do(player.ns.run, remover)
    await player.end(remover, 0)
    await player.until(lambda: not player.life.now["finetunejobs"], "the job's end")

    def collected() -> bool:
        now = player.life.now
        return len(now["jobs"]) == 1 and not any(map(_ours, now["configmaps"].values()))

    await player.until(collected, "the garbage collector")


LIVES: dict[str, Callable[[Player], Awaitable[None]]] = {
    "retried": retried,
    "suspended": suspended,
    "more memory": more_memory,
    "failed": failed,
    "removed": removed,
}


def end_of(life: Life) -> JsonObject:
    """How it ended, without what differs between two lives that ended alike."""
    children = [
        {
            key: job["spec"].get(key)
            for key in ("suspend", "backoffLimit", "ttlSecondsAfterFinished")
        }
        for job in life.now["jobs"].values()
    ]
    document = {
        "status": _timeless(life.status) if life.now["finetunejobs"] else None,
        "children": children,
        "settings": [item["data"] for item in life.now["configmaps"].values() if _ours(item)],
        "made": {
            "finetunejobs": len(life.made["finetunejobs"]),
            "jobs": len(life.made["jobs"]),
            "pods": len(life.made["pods"]),
            "configmaps": sum(name.startswith("tune-") for name in life.names("configmaps")),
        },
    }
    text = json.dumps(document, sort_keys=True)
    for number, pod in enumerate(life.names("pods")):
        text = text.replace(pod, f"POD-{number}")
    for uid in life.made["finetunejobs"]:
        text = text.replace(uid, "UID").replace(uid.replace("-", "")[:8], "UID8")
    for namespace in {job["metadata"]["namespace"] for job in life.now["jobs"].values()}:
        text = text.replace(namespace, "NAMESPACE")
    found: JsonObject = json.loads(text)
    return found


def _ours(config_map: JsonObject) -> bool:
    return str(config_map["metadata"]["name"]).startswith("tune-")


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if isinstance(value, dict):
        return {
            key: _timeless(item)
            for key, item in value.items()
            if not key.endswith(("Time", "time"))
        }
    return value
