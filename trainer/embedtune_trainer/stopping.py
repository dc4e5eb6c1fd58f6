"""SIGTERM and SIGINT: ask the run to stop, and see to it that the process ends soon either way."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Timer
from types import FrameType
from typing import Final

from embedtune_trainer.errors import Interrupted
from embedtune_trainer.failures import Ending, ending_of

GRACE_S = 5.0
"""Seconds from the signal to the process's end at the latest, where nothing is to be saved."""
SAVING_GRACE_S = 50.0
"""The same where the end is a checkpoint; the operator's pods have 60."""
_SAVES: Final = Event()


@contextmanager
def ends_with_a_checkpoint() -> Iterator[None]:
    """What is done within has SAVING_GRACE_S: its step to finish, and a checkpoint to write."""
    _SAVES.set()
    try:
        yield
    finally:
        _SAVES.clear()


def stop_on_signals(stop: Event, last_word: Callable[[Ending], None]) -> None:
    """Set `stop` on SIGTERM or SIGINT.

    A run that is in something that cannot be asked (loading weights, an upload that hangs) is
    ended after GRACE_S (in training, after SAVING_GRACE_S), and after a second signal at once, by
    os._exit. That is safe: models and checkpoints count only with their manifests, which are
    written last.

    Args:
        stop: what the run looks at.
        last_word: told how it ends, if it has to be ended so.
    """

    def end_now() -> None:
        ending = ending_of(Interrupted("told to stop before the model was finished"))
        last_word(ending)
        logging.shutdown()
        os._exit(ending.exit_code)

    def end_after(seconds: float, end: Callable[[], None]) -> None:
        deadline = Timer(seconds, end)
        deadline.daemon = True
        deadline.start()

    def end_unless_it_saves() -> None:
        if _SAVES.is_set():
            end_after(SAVING_GRACE_S - GRACE_S, end_now)
        else:
            end_now()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            end_now()
        stop.set()
        end_after(GRACE_S, end_unless_it_saves)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
