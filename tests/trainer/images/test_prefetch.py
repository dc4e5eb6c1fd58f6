"""Batches made ahead of time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from embedtune_trainer.images import prefetch as under_test
from embedtune_trainer.images.prefetch import prefetched


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_in_order_and_in_one_other_thread():
    makers: set[str] = set()

    def make(task: int) -> int:
        makers.add(threading.current_thread().name)
        return task * task

    assert list(prefetched(make, range(50))) == [n * n for n in range(50)]
    (maker,) = makers
    assert maker.startswith("prefetch")
    assert not threads()


def test_nothing_to_do():
    assert list(prefetched(str, [])) == []


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_the_next_are_made_while_the_last_is_used(ahead):
    """They are waited for here, so that this would hang if they were only made when asked for."""
    made = [threading.Event() for _ in range(8)]
    stream = prefetched(lambda task: made[task].set(), range(8), ahead)
    next(stream)
    for event in made[1 : ahead + 1]:
        assert event.wait(10)
    assert not any(event.is_set() for event in made[ahead + 1 :])
    stream.close()


def test_an_error_comes_in_its_batchs_place_and_ends_it():
    def make(task: int) -> float:
        return 1 / (2 - task)

    stream = prefetched(make, range(5))
    assert [next(stream), next(stream)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert list(stream) == []
    assert not threads()


def test_an_error_of_the_tasks_comes_after_what_they_gave():
    def tasks() -> Iterator[int]:
        yield from (1, 2)
        raise LookupError("no third")

    stream = prefetched(str, tasks(), ahead=4)
    assert [next(stream), next(stream)] == ["1", "2"]
    with pytest.raises(LookupError, match="no third"):
        next(stream)
    assert not threads()


def test_closing_drops_what_is_not_begun_and_stops_the_thread(monkeypatch):
    """Task 1 is being made when it is closed, and goes on only while its end is waited for."""
    begun: list[int] = []
    go_on = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, *args, **kwargs):
            go_on.set()
            super().shutdown(*args, **kwargs)

    monkeypatch.setattr(under_test, "ThreadPoolExecutor", Pool)

    def make(task: int) -> int:
        begun.append(task)
        if task == 1:
            assert go_on.wait(10)
        return task

    stream = prefetched(make, range(100), ahead=10)
    assert next(stream) == 0
    stream.close()
    assert set(begun) <= {0, 1}
    assert not threads()


def test_leaving_a_loop_early_stops_the_thread():
    def use() -> None:
        for made in prefetched(str, range(100)):
            if made == "3":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert not threads()


def test_tasks_are_taken_in_the_callers_thread():
    takers: set[str] = set()

    def tasks() -> Iterator[int]:
        for task in range(5):
            takers.add(threading.current_thread().name)
            yield task

    list(prefetched(str, tasks()))
    assert takers == {threading.current_thread().name}
