"""One thread that writes what it is offered, the newest only, until the storage takes it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from embedtune_trainer.errors import TrainerError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Backoff:
    """Waits between the tries of one item."""

    first_s: float = 1.0
    """Seconds before the second try; doubled for each one after it."""
    longest_s: float = 30.0


PATIENT: Final = Backoff()


class Writer(Generic[Item]):
    """Writes in the background.

    At most one item waits: a newer one takes its place, also that of one whose tries have failed
    so far. What the storage refuses or does not answer is told and tried again for as long as the
    training goes on, since a training must not end for it; any other error is a defect, and raised
    at the next offer.
    """

    def __init__(
        self,
        write: Callable[[Item], None],
        failed: Callable[[Item, TrainerError], None],
        backoff: Backoff = PATIENT,
        given_up: Callable[[Item], None] = lambda _: None,
    ) -> None:
        """Begin to wait for items.

        Args:
            write: writes one, in the writer's thread, as the others are called.
            failed: told of each try that did not go well.
            backoff: between the tries.
            given_up: told of an item whose tries have failed, before a newer one is begun.
        """
        self._write = write
        self._failed = failed
        self._backoff = backoff
        self._given_up = given_up
        self._waiting: Item | None = None
        self._busy = self._closed = False
        self._defect: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> None:
        """Write it next; returns at once.

        Raises:
            Exception: the defect that an earlier one ended with.
        """
        with self._changed:
            if self._defect is not None:
                raise self._defect
            self._waiting = item
            self._changed.notify_all()

    def take_back(self) -> Item | None:
        """What waits, if anything does: it is not written any more."""
        with self._changed:
            item, self._waiting = self._waiting, None
            return item

    def wait(self, timeout_s: float | None) -> bool:
        """Whether everything offered is written within so many seconds, or however long it takes.

        Raises:
            Exception: see offer.
        """
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._defect is not None or (self._waiting is None and not self._busy),
                timeout_s,
            )
            if self._defect is not None:
                raise self._defect
            return done

    def close(self) -> None:
        """Drop what waits, and return when nothing is being written any more."""
        with self._changed:
            self._closed = True
            self._waiting = None
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._until_written(item)
            except Exception as error:
                with self._changed:
                    self._defect = error
                    self._changed.notify_all()
                return
            del item
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next(self) -> Item | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            item, self._waiting = self._waiting, None
            self._busy = item is not None
            return item

    def _until_written(self, item: Item) -> None:
        """Try until it is written, a newer one waits, or the writer is closed."""
        wait_s = self._backoff.first_s
        while True:
            try:
                self._write(item)
            except TrainerError as error:
                if self._closed:
                    return
                self._failed(item, error)
            else:
                return
            if self._superseded_within(wait_s):
                self._given_up(item)
                return
            wait_s = min(2 * wait_s, self._backoff.longest_s)

    def _superseded_within(self, seconds: float) -> bool:
        """Wait for the next try; whether there is none, since the item is not wanted any more."""
        until = time.monotonic() + seconds
        with self._changed:
            return self._changed.wait_for(
                lambda: self._closed or self._waiting is not None, until - time.monotonic()
            )
