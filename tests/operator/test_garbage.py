"""What is set aside is looked at when all is set aside anew, so that nothing leaks for good."""

import asyncio
import gc
import weakref

import pytest

from embedtune_operator import garbage


class Cycle:
    """Garbage that only a collector finds, once it is let go."""

    def __init__(self):
        self.me = self


@pytest.fixture(autouse=True)
def collector():
    """As it was before, after each test; nothing is collected by itself meanwhile."""
    thresholds = gc.get_threshold()
    gc.disable()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.enable()


def test_what_is_set_aside_is_not_looked_at_until_the_next_time():
    held = Cycle()
    seen = weakref.ref(held)
    garbage.set_aside()
    del held
    gc.collect()
    assert seen() is not None
    garbage.set_aside()
    assert seen() is None


def test_garbage_is_not_set_aside():
    seen = weakref.ref(Cycle())
    garbage.set_aside()
    assert seen() is None


def test_it_begins_at_once_and_looks_more_seldom_than_python_does():
    async def begin():
        task = asyncio.create_task(garbage.keep_setting_aside())
        await asyncio.sleep(0)
        task.cancel()

    assert gc.get_freeze_count() == 0
    asyncio.run(begin())
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == (garbage.NEW_ENOUGH, 10, 10)
