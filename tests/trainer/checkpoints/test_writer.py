"""The writer's thread: the newest wins, what fails is tried again, what ends ends."""

from threading import Event

import pytest

from embedtune_trainer.checkpoints.writer import Backoff, Writer
from embedtune_trainer.errors import AccessDenied, StorageUnavailable

QUICK = Backoff(first_s=0.001, longest_s=0.004)
NEVER = Backoff(first_s=3600, longest_s=3600)


class Storage:
    """Takes what it is given, fails so many times first, and can be made to wait."""

    def __init__(self, failures=0, error=None, wait=False):
        self.failures, self.error = failures, error or StorageUnavailable("away")
        self.written, self.failed, self.tries = [], [], []
        self.begun, self.go_on, self.told = Event(), Event(), Event()
        if not wait:
            self.go_on.set()

    def write(self, item):
        self.tries.append(item)
        self.begun.set()
        assert self.go_on.wait(10)
        if self.failures:
            self.failures -= 1
            raise self.error
        self.written.append(item)

    def tell(self, item, error):
        self.failed.append((item, str(error)))
        self.told.set()

    def writer(self, backoff=QUICK):
        return Writer(self.write, self.tell, backoff)


@pytest.mark.parametrize("error", [StorageUnavailable("away"), AccessDenied("no")])
def test_what_fails_is_tried_until_it_is_written(error):
    storage = Storage(failures=7, error=error)
    writer = storage.writer()
    writer.offer("a")
    assert writer.wait(10)
    writer.close()
    assert storage.written == ["a"]
    assert storage.failed == [("a", str(error))] * 7


def test_at_most_one_waits_and_the_newest_wins():
    storage = Storage(wait=True)
    writer = storage.writer()
    writer.offer(1)
    assert storage.begun.wait(10)
    for item in (2, 3, 4):
        writer.offer(item)
    assert not writer.wait(0)
    storage.go_on.set()
    assert writer.wait(10)
    writer.close()
    assert storage.written == [1, 4]


def test_a_newer_one_takes_the_place_of_one_that_fails():
    storage = Storage(failures=1)
    writer = storage.writer(NEVER)
    writer.offer(1)
    assert storage.told.wait(10)
    writer.offer(2)
    assert writer.wait(10)
    writer.close()
    assert storage.written == [2]


def test_closing_ends_the_tries_and_drops_what_waits():
    storage = Storage(failures=10**9)
    writer = storage.writer(NEVER)
    writer.offer(1)
    assert storage.told.wait(10)
    writer.close()
    assert storage.tries == [1]
    assert not storage.written


def test_a_defect_is_raised_in_the_training():
    storage = Storage(failures=1, error=ZeroDivisionError("a defect"))
    writer = storage.writer()
    writer.offer(1)
    with pytest.raises(ZeroDivisionError):
        writer.wait(10)
    with pytest.raises(ZeroDivisionError):
        writer.offer(2)
    writer.close()
