"""The wall clock jumps: jobs come to the same end, and nobody waits for a time that will not come.

Deadlines and TTLs are the exception, as they are for Kubernetes' own: what is told by the clock is
told too early by one that was set forward.
"""

import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest

from embedtune_operator.client import Refused
from tests.operator.fake_api import FakeApi, FakeOperator, submitted
from tests.operator.test_faults import CHILD_PATH, LIVES, things, told

HOUR = timedelta(hours=1)
JUMPS = {
    "forward": [HOUR],
    "back": [-HOUR],
    "to and fro": [HOUR, -2 * HOUR, 3 * HOUR, -HOUR],
}


@pytest.fixture(params=JUMPS)
def jumps(request: pytest.FixtureRequest) -> Iterator[timedelta]:
    return itertools.cycle(JUMPS[request.param])


@pytest.mark.parametrize("case", LIVES)
async def test_lives_end_the_same(
    case: str, jumps: Iterator[timedelta], monkeypatch: pytest.MonkeyPatch
) -> None:
    course = LIVES[case]
    calm = submitted(runPolicy=course.policy)
    await course.live(calm)
    settle = FakeOperator.settle

    async def jump_first(self: FakeOperator, *, deliver: bool = True) -> None:
        self.now += next(jumps)
        await settle(self, deliver=deliver)

    monkeypatch.setattr(FakeOperator, "settle", jump_first)
    api = submitted(runPolicy=course.policy)
    await course.live(api)
    assert told(api) == told(calm)
    assert things(api) == things(calm)


def refusing(times: int) -> FakeApi:
    """An API server that lets no child in, for a while."""
    api = submitted()
    create = api.create

    async def refused(path: str, body: dict[str, object]) -> dict[str, object]:
        nonlocal times
        if path.endswith("/configmaps") and times:
            times -= 1
            raise Refused("quota")
        return await create(path, body)

    api.create = refused  # type: ignore[method-assign]
    return api


async def test_what_was_refused_is_asked_for_again_after_the_clock_was_set_back() -> None:
    api = refusing(1)
    operator = FakeOperator(api)
    await operator.settle()
    assert told(api)["reason"] == "CreateFailed"
    operator.now -= HOUR
    await operator.pass_time(10)
    assert CHILD_PATH in api.objects


async def test_otherwise_it_waits_for_its_time() -> None:
    api = refusing(3)
    operator = FakeOperator(api)
    await operator.settle()
    await operator.pass_time(3)
    assert told(api)["reason"] == "CreateFailed"
    await operator.pass_time(3)
    await operator.pass_time(11)
    assert CHILD_PATH not in api.objects
    await operator.pass_time(21)
    assert CHILD_PATH in api.objects
