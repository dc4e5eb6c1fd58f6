"""Plays a life for each fault and compares it with the same life without one.

Faults of single writes that are only answers share an operator, each in a namespace of its own; a
kill has an operator to itself, and so has each fault of the watches. Never do two operators serve
one namespace, so those that share one come first.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from localcluster.controlplane import ControlPlane
from tests.faults.forked import ForkedOperator
from tests.faults.lives import LIVES, Player, end_of
from tests.faults.proxy import ANSWERS, KILLS, Nth, Proxy, WriteFault, connect
from tests.faults.recorder import JsonObject, Life, Recorder
from tests.faults.watch_faults import WATCH_FAULTS, WatchFault
from tests.operator.world import Namespace

ANSWERS_AT_ONCE, KILLS_AT_ONCE, WATCHES_AT_ONCE, QUIET_AT_ONCE = 24, 6, 2, 2
SETTLED_S = 20.0
STAYS_S = 0.3
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Calm:
    """A life without faults."""

    writes: tuple[str, ...]
    end: JsonObject
    events: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """What a fault came to."""

    life: str
    fault: str
    number: int
    """Of the write, from 0; -1: not of one write."""
    wrong: str
    """Empty: nothing."""
    missed: bool
    """Whether there was no such write: statuses that can wait are written together under load."""
    lost: tuple[str, ...]
    """Events that were not posted; they are hints and no state."""
    seconds: float


class Lab:
    """A control plane with its recorder, in which lives are played; a context manager."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._folder = folder
        self.calm: dict[str, Calm] = {}
        """What the others are held against."""

    async def __aenter__(self) -> "Lab":
        self._session: aiohttp.ClientSession = connect(self._plane)
        self._recorder = await Recorder(self._session, self._plane.url).__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._recorder.__aexit__()
        await self._session.close()

    def _proxy(self, name: str, *watch_fault: WatchFault) -> Proxy:
        kubeconfig = self._folder / f"{name}.kubeconfig"
        return Proxy(self._plane, self._session, kubeconfig, *watch_fault)

    def _process(self, name: str, proxy: Proxy, **env: str) -> ForkedOperator:
        log = self._folder / f"{name}.log"
        return ForkedOperator(self._plane, log, KUBECONFIG=str(proxy.kubeconfig), **env)

    @asynccontextmanager
    async def shared(self, names: Sequence[str]) -> AsyncIterator[None]:
        """An operator for all namespaces; at first it sees these lives through without a fault."""
        async with self._proxy("shared") as self._shared:
            process = self._process("shared", self._shared)
            await asyncio.to_thread(process.start)
            try:
                found = await asyncio.gather(*map(self._live_calmly, names))
                self.calm = dict(zip(names, found, strict=True))
                yield
            finally:
                process.kill()

    async def _live_calmly(self, name: str) -> Calm:
        ns, life = await self._namespace()
        await LIVES[name](Player(ns, life))
        await asyncio.sleep(1)
        assert self._unhandled("shared") == ""
        return Calm(tuple(self._shared.writes[ns.name]), end_of(life), _events(life))

    async def answered(self, name: str, number: int, fault: WriteFault) -> Outcome:
        """The API server gives this answer to this write."""
        ns, life = await self._namespace()
        write = Nth.of(self.calm[name].writes, number)
        self._shared.faults[ns.name] = (write, fault)
        reached = lambda: write.is_in(self._shared.writes[ns.name])  # noqa: E731
        return await self._play(name, str(fault), number, ns, life, reached, "shared")

    async def killed(self, name: str, number: int, fault: WriteFault) -> Outcome:
        """The operator is killed at this write, and started again."""
        ns, life = await self._namespace()
        async with self._proxy(ns.name) as proxy:
            process = self._process(ns.name, proxy, EMBEDTUNE_NAMESPACES=ns.name)

            async def kill() -> None:
                await asyncio.to_thread(process.kill)
                process.start(wait=False)

            write = Nth.of(self.calm[name].writes, number)
            proxy.kill, proxy.faults[ns.name] = kill, (write, fault)
            process.start(wait=False)
            try:
                reached = lambda: write.is_in(proxy.writes[ns.name])  # noqa: E731
                return await self._play(name, str(fault), number, ns, life, reached, ns.name)
            finally:
                process.kill()

    async def watched(self, fault: type[WatchFault], names: Sequence[str]) -> list[Outcome]:
        """All of these lives, with an operator whose watches are spoilt."""
        log = fault.__name__.lower()
        places = [await self._namespace() for _ in names]
        served = ",".join(ns.name for ns, _ in places)
        async with self._proxy(log, fault()) as proxy:
            process = self._process(
                log, proxy, EMBEDTUNE_NAMESPACES=served, EMBEDTUNE_RESYNC_INTERVAL_S="5"
            )
            await asyncio.to_thread(process.start)
            try:
                lives = zip(names, places, strict=True)
                return await asyncio.gather(
                    *(
                        self._play(name, fault.name, -1, ns, life, lambda: True, log)
                        for name, (ns, life) in lives
                    )
                )
            finally:
                process.kill()

    async def _play(
        self,
        name: str,
        fault: str,
        number: int,
        ns: Namespace,
        life: Life,
        reached: Callable[[], bool],
        log: str,
    ) -> Outcome:
        calm = self.calm[name]
        began = time.monotonic()
        try:
            await LIVES[name](Player(ns, life))
            wrong = await _settled(life, calm.end)
        except Exception as error:  # whatever breaks the play, the others go on
            wrong = f"{type(error).__name__}: {error}"
        wrong = wrong or _never_right(life) or self._unhandled(log)
        lost = tuple(sorted(calm.events - _events(life)))
        return Outcome(name, fault, number, wrong, not reached(), lost, time.monotonic() - began)

    async def _namespace(self) -> tuple[Namespace, Life]:
        ns = Namespace(self._plane.client(), f"fault-{next(_numbers)}")
        body = {"metadata": {"name": ns.name}}
        await asyncio.to_thread(ns.api.call, "POST", "/api/v1/namespaces", body)
        life = self._recorder.lives[ns.name]
        await Player(ns, life).until(lambda: life.now["serviceaccounts"], "the service account")
        return ns, life

    def _unhandled(self, log: str) -> str:
        path = self._folder / f"{log}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        bad = [line for line in lines if "Traceback" in line or '"level": "error"' in line]
        return f"in the operator's log: {bad[0][:600]}" if bad else ""


async def _settled(life: Life, wanted: JsonObject) -> str:
    """Wait until it has ended as it should, and see that this stays."""
    deadline = time.monotonic() + SETTLED_S
    while end_of(life) != wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.sleep(STAYS_S)
    found = end_of(life)
    for key, value in wanted.items():
        if found[key] != value:
            return f"{key}: {differences(found[key], value)}"
    return ""


def differences(found: Any, wanted: Any) -> str:
    """What is not as it should be, place by place."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [k for k in {**wanted, **found} if found.get(k) != wanted.get(k)]
        return "; ".join(f"{k}: {differences(found.get(k), wanted.get(k))}" for k in keys)
    return f"{str(found)[:200]} and not {str(wanted)[:200]}"


def _never_right(life: Life) -> str:
    """What was wrong on the way."""
    if not life.latched():
        return "a terminal condition was taken back"
    if life.most_pods > 1:
        return f"{life.most_pods} pods at once"
    return ""


def _events(life: Life) -> frozenset[str]:
    return frozenset(
        event["reason"]
        for event in life.now["events"].values()
        if event["involvedObject"]["kind"] == "FineTuneJob"
    )


async def every_fault(lab: Lab, names: Sequence[str]) -> list[Outcome]:
    """Every fault of every write of these lives, and of their watches."""
    async with lab.shared(names):
        outcomes = await _each_write(lab, lab.answered, ANSWERS, ANSWERS_AT_ONCE)
    print(f"{len(outcomes)} wrong answers given", flush=True)
    outcomes += await _each_write(lab, lab.killed, KILLS, KILLS_AT_ONCE)
    print("the operator killed at each write", flush=True)
    watches = asyncio.Semaphore(WATCHES_AT_ONCE)

    async def spoilt(fault: type[WatchFault]) -> list[Outcome]:
        async with watches:
            return await lab.watched(fault, names)

    for found in await asyncio.gather(*map(spoilt, WATCH_FAULTS)):
        outcomes += found
    return outcomes


async def _each_write(
    lab: Lab,
    play: Callable[[str, int, WriteFault], Awaitable[Outcome]],
    faults: Sequence[WriteFault],
    at_once: int,
) -> list[Outcome]:
    """What each came to; one whose write was gathered with another in the crowd has a quiet try."""
    cases = [
        (name, number, fault)
        for name, calm in lab.calm.items()
        for number in range(len(calm.writes))
        if not _tried_before(lab.calm, name, number)
        for fault in faults
    ]
    turns, quiet = asyncio.Semaphore(at_once), asyncio.Semaphore(QUIET_AT_ONCE)

    async def one(turn: asyncio.Semaphore, case: tuple[str, int, WriteFault]) -> Outcome:
        async with turn:
            return await play(*case)

    found = await asyncio.gather(*(one(turns, case) for case in cases))
    missed = [n for n, outcome in enumerate(found) if outcome.missed and not outcome.wrong]
    again = await asyncio.gather(*(one(quiet, cases[n]) for n in missed))
    for n, outcome in zip(missed, again, strict=True):
        found[n] = outcome
    return found


def _tried_before(lives: dict[str, Calm], name: str, number: int) -> bool:
    """Whether an earlier life has gone the same way until after this write."""
    way = lives[name].writes[: number + 1]
    earlier = itertools.takewhile(lambda other: other != name, lives)
    return any(lives[other].writes[: number + 1] == way for other in earlier)
