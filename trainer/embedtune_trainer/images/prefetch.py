"""The next batches are made while a step runs."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from embedtune_trainer.background import background_threads

Task = TypeVar("Task")
Made = TypeVar("Made")


def prefetched(
    make: Callable[[Task], Made], todo: Iterable[Task], ahead: int = 2
) -> Generator[Made]:
    """make(task) for each task, in order, up to `ahead` of them before they are asked for.

    One thread makes them, so that they never compete with one another. `todo` is iterated in the
    caller's thread. An error, of make or of todo, is raised where its batch would have come. When
    the iterator is closed, or an error leaves it, what is not yet begun is dropped, and what is
    being made is waited for.

    Args:
        make: what takes long; it must let go of Python's lock for that to help.
        todo: what to make.
        ahead: how many are made, or held, beyond the one that was taken last; at least 1.
    """
    tasks = iter(todo)
    waiting: deque[Future[Made]] = deque()
    with background_threads(1, "prefetch") as pool:
        try:
            waiting.extend(islice(_begun(make, tasks, pool), ahead))
            begun = _begun(make, tasks, pool)
            while waiting:
                made = waiting.popleft().result()
                waiting.extend(islice(begun, 1))
                yield made
                del made
        finally:
            for future in waiting:
                future.cancel()


def _begun(
    make: Callable[[Task], Made], tasks: Iterator[Task], pool: ThreadPoolExecutor
) -> Iterator[Future[Made]]:
    """Each task handed to the pool; an error of the tasks themselves as the last of them."""
    while True:
        try:
            task = next(tasks)
        except StopIteration:
            return
        except Exception as error:  # raised when its turn comes
            failed: Future[Made] = Future()
            failed.set_exception(error)
            yield failed
            return
        yield pool.submit(make, task)
