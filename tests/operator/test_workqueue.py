"""The work queue: one worker a key, nothing lost, errors repeated with growing delays."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from embedtune_operator.workqueue import RetryLater, Urgency, Work, WorkQueue


@asynccontextmanager
async def working(
    work: Work, urgencies: Mapping[str, Urgency] | None = None, **options: float
) -> AsyncIterator[WorkQueue]:
    """With a worker for what can wait, and three for the others; by default nothing can."""
    urgency = (urgencies or {}).get
    queue = WorkQueue(
        work,
        urgency=lambda key: urgency(key, Urgency.FIRST),
        jitter=lambda: 1.0,
        **options,  # type: ignore[arg-type]
    )
    queue.open()
    task = asyncio.create_task(queue.run(3, 1))
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not look():
            await asyncio.sleep(0.005)


async def test_many_additions_are_one_pass_and_one_more_if_made_meanwhile() -> None:
    gate, began = asyncio.Event(), []

    async def work(key: str) -> None:
        began.append(key)
        await gate.wait()

    async with working(work) as queue:
        for _ in range(5):
            queue.add("a")
        await until(lambda: began == ["a"])
        for _ in range(5):
            queue.add("a")
        await asyncio.sleep(0.02)
        assert began == ["a"], "never two at once"
        gate.set()
        await until(lambda: began == ["a", "a"])
        await asyncio.sleep(0.02)
        assert began == ["a", "a"]


async def test_what_is_urgent_goes_first_and_all_others_in_their_order() -> None:
    done: list[str] = []

    async def work(key: str) -> None:
        done.append(key)

    queue = WorkQueue(work, urgency=lambda key: Urgency.FIRST if "new" in key else Urgency.SOON)
    for key in ("old", "older", "new", "newer"):
        queue.add(key)
    queue.open()
    task = asyncio.create_task(queue.run(1, 1))
    await until(lambda: len(done) == 4)
    task.cancel()
    assert done == ["new", "newer", "old", "older"]


async def test_what_can_wait_takes_no_workers_from_the_rest_and_is_not_left_out_by_it() -> None:
    urgencies = dict.fromkeys("abcd", Urgency.CAN_WAIT)
    gates = {key: asyncio.Event() for key in "abcdefg"}
    begun: list[str] = []

    async def work(key: str) -> None:
        begun.append(key)
        await gates[key].wait()

    async with working(work, urgencies) as queue:
        for key in "abcdefg":
            queue.add(key)
        await until(lambda: len(begun) == 4)
        await asyncio.sleep(0.02)
        assert sorted(begun) == ["a", "e", "f", "g"]
        gates["a"].set()
        await until(lambda: begun[4:] == ["b"])


async def test_what_becomes_more_urgent_while_it_waits_is_worked_on_once() -> None:
    urgencies = dict.fromkeys("abcd", Urgency.CAN_WAIT)
    done: list[str] = []
    gate = asyncio.Event()

    async def work(key: str) -> None:
        await gate.wait()
        done.append(key)

    async with working(work, urgencies) as queue:
        queue.close()
        for key in "abcd":
            queue.add(key)
        for urgency in (Urgency.SOON, Urgency.FIRST, Urgency.SOON):
            urgencies["d"] = urgency
            queue.add("d")
        urgencies["c"] = Urgency.SOON
        queue.add("c")
        assert len(queue) == 4
        queue.open()
        gate.set()
        await until(lambda: len(done) == 4)
        await asyncio.sleep(0.02)
        assert sorted(done) == ["a", "b", "c", "d"]


async def test_never_two_workers_at_a_key_however_often_it_waits() -> None:
    urgencies: dict[str, Urgency] = {}
    busy, done, gate = Counter[str](), list[str](), asyncio.Event()

    async def work(key: str) -> None:
        busy[key] += 1
        assert busy[key] == 1
        await gate.wait()
        busy[key] -= 1
        done.append(key)

    async with working(work, urgencies) as queue:
        queue.close()
        for urgency in (Urgency.CAN_WAIT, Urgency.SOON, Urgency.FIRST):
            urgencies["a"] = urgency
            queue.add("a")
        queue.open()
        await until(lambda: busy["a"] == 1)
        urgencies["a"] = Urgency.CAN_WAIT
        queue.add("a")
        await asyncio.sleep(0.02)
        gate.set()
        await until(lambda: len(done) == 2)
        await asyncio.sleep(0.02)
        assert done == ["a", "a"]


async def test_keys_are_worked_on_side_by_side() -> None:
    busy: set[str] = set()
    together = asyncio.Event()

    async def work(key: str) -> None:
        busy.add(key)
        if len(busy) == 3:
            together.set()
        await together.wait()

    async with working(work) as queue:
        for key in "abc":
            queue.add(key)
        await asyncio.wait_for(together.wait(), 5)


async def test_failed_work_comes_back_later_and_later() -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def work(_key: str) -> None:
        times.append(loop.time())
        if len(times) < 5:
            raise OSError("no network")

    async with working(work, first_delay_s=0.02) as queue:
        queue.add("a")
        await until(lambda: len(times) == 5)
    gaps = [b - a for a, b in pairwise(times)]
    assert all(gap >= 0.02 * 2**n for n, gap in enumerate(gaps))


async def test_the_servers_wish_to_wait_is_obeyed() -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def work(_key: str) -> None:
        times.append(loop.time())
        if len(times) == 1:
            raise RetryLater("429", after_s=0.2)

    async with working(work, first_delay_s=0.001) as queue:
        queue.add("a")
        await until(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.2


async def test_delays_are_capped() -> None:
    count = 0

    async def work(_key: str) -> None:
        nonlocal count
        count += 1
        raise OSError

    async with working(work, first_delay_s=0.001, longest_delay_s=0.002) as queue:
        queue.add("a")
        await until(lambda: count > 50)


async def test_work_can_ask_to_come_again() -> None:
    count = 0

    async def work(_key: str) -> float | None:
        nonlocal count
        count += 1
        return 0.01 if count < 3 else None

    async with working(work) as queue:
        queue.add("a")
        await until(lambda: count == 3)
        await asyncio.sleep(0.05)
        assert count == 3


async def test_the_earliest_of_several_delays_counts() -> None:
    seen: list[str] = []

    async def work(key: str) -> None:
        seen.append(key)

    async with working(work) as queue:
        queue.add_after("a", 60)
        queue.add_after("a", 0.01)
        queue.add_after("a", 60)
        await until(lambda: seen == ["a"])


async def test_nothing_begins_before_it_is_opened_and_all_ends_in_a_drain() -> None:
    ended: list[str] = []

    async def work(key: str) -> None:
        await asyncio.sleep(0.05)
        ended.append(key)

    queue = WorkQueue(work)
    task = asyncio.create_task(queue.run(1, 1))
    queue.add("a")
    queue.add("b")
    await asyncio.sleep(0.05)
    assert len(queue) == 2
    queue.open()
    await until(lambda: len(queue) == 1)
    await queue.drain(5)
    assert ended == ["a"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
