"""Makes and deletes jobs at a rate, over connections that are kept alive."""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp

from localcluster.controlplane import ControlPlane
from scale_parts.sightings import Sightings, Spread, spread
from scale_parts.systems import System

CONNECTIONS = 64


@dataclass(frozen=True)
class Achieved:
    """A load as it was.

    Attributes:
        rate: calls a second, from the first one sent to the last one.
        late_s: how late the latest was sent.
        errors: what calls failed with.
        answered: seconds from sending a call to its answer.
    """

    rate: float
    late_s: float
    errors: tuple[str, ...]
    answered: Spread


class Load:
    """See the module; a context manager."""

    def __init__(self, plane: ControlPlane, system: System, sightings: Sightings) -> None:
        self._plane = plane
        self._system = system
        self._sightings = sightings

    async def __aenter__(self) -> "Load":
        pki = self._plane.pki
        tls = ssl.create_default_context(cafile=str(pki.certificate("ca")))
        tls.load_cert_chain(str(pki.certificate("admin")), str(pki.key("admin")))
        self._session = aiohttp.ClientSession(
            base_url=self._plane.url,
            connector=aiohttp.TCPConnector(ssl=tls, limit=CONNECTIONS, keepalive_timeout=600),
            timeout=aiohttp.ClientTimeout(total=60),
        )
        await asyncio.gather(*(self._greet() for _ in range(CONNECTIONS // 2)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def make(self, names: Sequence[str], rate: float) -> Achieved:
        """Create a job of each name."""
        path = self._system.jobs.path

        async def one(name: str) -> None:
            body = json.dumps(self._system.job(name)).encode()
            headers = {"Content-Type": "application/json"}
            self._sightings.sent[name] = time.monotonic()
            async with self._session.post(path, data=body, headers=headers) as answer:
                await _checked(answer)

        return await at_rate(one, names, rate)

    async def delete(self, names: Sequence[str], rate: float) -> Achieved:
        """Delete these jobs, their children in the background."""
        path = self._system.jobs.path

        async def one(name: str) -> None:
            body = {"propagationPolicy": "Background"}
            async with self._session.delete(f"{path}/{name}", json=body) as answer:
                await _checked(answer)

        return await at_rate(one, names, rate)

    async def _greet(self) -> None:
        async with self._session.get("/readyz") as answer:
            await answer.read()


async def _checked(answer: aiohttp.ClientResponse) -> None:
    text = await answer.text()
    if answer.status >= 400:
        raise RuntimeError(f"{answer.status}: {text[:300]}")


async def at_rate(
    one: Callable[[str], Awaitable[None]], names: Sequence[str], rate: float
) -> Achieved:
    """Call for each name at its time, whether or not those before have been answered."""
    begin = time.monotonic()
    late_s, errors, answered = 0.0, list[str](), list[float]()

    async def guarded(name: str) -> None:
        sent = time.monotonic()
        try:
            await one(name)
        except (aiohttp.ClientError, TimeoutError, RuntimeError) as error:
            errors.append(f"{name}: {error}")
        else:
            answered.append(time.monotonic() - sent)

    async with asyncio.TaskGroup() as group:
        for index, name in enumerate(names):
            due = begin + index / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            late_s = max(late_s, time.monotonic() - due)
            group.create_task(guarded(name))
        last = time.monotonic()
    achieved = (len(names) - 1) / (last - begin) if len(names) > 1 else rate
    return Achieved(achieved, late_s, tuple(errors), spread(answered))
