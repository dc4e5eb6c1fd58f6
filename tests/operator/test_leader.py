"""The election: one leader at a time whatever is slow, lost or repeated, and soon another one."""

import contextlib
import copy
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune_operator.client import ApiError, Client, Conflict, Unavailable
from embedtune_operator.leader import LEASE_S, RENEW_WITHIN_S, RETRY_S, Leadership

JsonObject = dict[str, Any]


async def _no_pause() -> None: ...


class Server(Client):
    """An API server that knows one Lease, and fails when told to."""

    def __init__(self) -> None:
        self.lease: JsonObject | None = None
        self.fails: str | None = None
        """A write fails `before` or `after` it is done; `read`: there is no answer at all."""
        self.pause: Callable[[], Awaitable[None]] = _no_pause
        """What happens between a call's effect and its answer."""
        self.writes: list[str] = []
        self._versions = itertools.count(1)

    async def get(self, path: str) -> JsonObject | None:
        if self.fails == "read":
            raise Unavailable("no answer")
        found = copy.deepcopy(self.lease)
        await self.pause()
        return found

    async def create(self, path: str, body: JsonObject) -> JsonObject:
        return await self._write("create", body, exists=False)

    async def apply(self, path: str, body: JsonObject) -> JsonObject:
        return await self._write("apply", body, exists=True)

    async def _write(self, how: str, body: JsonObject, *, exists: bool) -> JsonObject:
        if self.fails == "before":
            raise Unavailable("no answer")
        version = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if (self.lease is not None) != exists or body["metadata"].get("resourceVersion") != version:
            raise Conflict("modified")
        self.writes.append(how)
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(next(self._versions))
        answer = copy.deepcopy(self.lease)
        await self.pause()
        if self.fails == "after":
            raise Unavailable("no answer")
        return answer


class World:
    """Replicas, each with a clock of its own, and one server."""

    def __init__(self, replicas: int = 2) -> None:
        self.server = Server()
        self.now = 0.0
        self.answers_after_s = 0.0
        self.meanwhile: int | None = None
        """The replica that looks while another waits for an answer."""
        self.server.pause = self._pause
        self.replicas = [
            Leadership(
                self.server,
                namespace="system",
                name="embedtune",
                identity=f"replica-{number}",
                clock=lambda number=number: self.now + 1000.0 * number,  # type: ignore[misc]
            )
            for number in range(replicas)
        ]

    async def _pause(self) -> None:
        number, self.meanwhile = self.meanwhile, None
        if number is not None:
            await self.look(number)
        self.meanwhile = number
        self.now += self.answers_after_s

    async def look(self, number: int) -> None:
        with contextlib.suppress(ApiError):
            await self.replicas[number].once()

    @property
    def leaders(self) -> list[int]:
        return [number for number, replica in enumerate(self.replicas) if replica.held]


async def test_the_first_leads_and_the_second_waits() -> None:
    world = World()
    for _ in range(20):
        for number in (0, 1):
            await world.look(number)
        assert world.leaders == [0]
        world.now += RETRY_S
    lease = world.server.lease
    assert lease is not None
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("replica-0", 0)
    assert lease["spec"]["acquireTime"] < lease["spec"]["renewTime"]


async def test_a_silent_leader_stops_before_another_begins() -> None:
    world = World()
    for number in (0, 1):
        await world.look(number)
    world.now = RENEW_WITHIN_S
    assert world.leaders == []
    world.now = LEASE_S - 0.1
    await world.look(1)
    assert world.leaders == []
    world.now = LEASE_S
    await world.look(1)
    assert world.leaders == [1]
    await world.look(0)
    assert world.leaders == [1]


async def test_a_slow_answer_counts_from_when_it_was_asked_for() -> None:
    world = World()
    world.answers_after_s = RENEW_WITHIN_S / 2
    await world.look(0)
    assert world.now == RENEW_WITHIN_S
    assert world.leaders == []


def test_a_killed_leader_is_followed_within_15_s() -> None:
    """The Lease, and one wait of the follower before and one after: seen late, taken late."""
    assert LEASE_S + 2 * RETRY_S < 12


async def test_a_lease_that_is_given_up_is_taken_at_once() -> None:
    world = World()
    for number in (0, 1):
        await world.look(number)
    await world.replicas[0].release()
    assert world.leaders == []
    await world.look(1)
    assert world.leaders == [1]
    lease = world.server.lease
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 1


async def test_only_its_holder_gives_it_up() -> None:
    world = World()
    for number in (0, 1):
        await world.look(number)
    await world.replicas[1].release()
    assert world.server.writes == ["create"]


@pytest.mark.parametrize("how", ["before", "after", "read"])
async def test_a_renewal_that_fails_once_costs_nothing(how: str) -> None:
    world = World()
    await world.look(0)
    world.now += RETRY_S
    world.server.fails = how
    await world.look(0)
    world.server.fails = None
    assert world.leaders == [0]
    world.now += RETRY_S
    await world.look(0)
    world.now += RENEW_WITHIN_S - 0.1
    assert world.leaders == [0]


Step = tuple[int, int | None, float, float, str | None]
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from([0.0, 0.5, RETRY_S, RENEW_WITHIN_S, LEASE_S, 30.0]),
        st.sampled_from([0.0, 0.0, 2.0, 4.9, 20.0]),
        st.sampled_from([None, None, None, "before", "after", "read"]),
    ),
    max_size=60,
)


@given(STEPS)
async def test_never_two_lead(steps: list[Step]) -> None:
    world = World(replicas=3)
    for number, meanwhile, passed, answers_after_s, fails in steps:
        world.now += passed
        world.meanwhile = None if meanwhile == number else meanwhile
        world.answers_after_s, world.server.fails = answers_after_s, fails
        await world.look(number)
        assert len(world.leaders) <= 1
    world.answers_after_s, world.server.fails, world.meanwhile = 0.0, None, None
    for _ in range(20):
        for number in range(3):
            await world.look(number)
        world.now += RETRY_S
    assert len(world.leaders) == 1, "in the end somebody leads"
