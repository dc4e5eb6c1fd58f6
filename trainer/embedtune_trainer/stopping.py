"""SIGTERM and SIGINT: ask the run to stop, and see to it that the process ends soon either way."""

import logging
import os
import signal
from collections.abc import Callable
from threading import Event, Timer
from types import FrameType

from embedtune_trainer.errors import Interrupted
from embedtune_trainer.failures import Ending, ending_of

GRACE_S = 5.0
"""Seconds from the signal to the process's end at the latest; a pod has 30 by default."""


def stop_on_signals(stop: Event, last_word: Callable[[Ending], None]) -> None:
    """Set `stop` on SIGTERM or SIGINT.

    A run that is in something that cannot be asked (loading weights, an upload that hangs) is
    ended after GRACE_S, and after a second signal at once, by os._exit. That is safe: a model
    counts only with its manifest, which is written last.

    Args:
        stop: what the run looks at.
        last_word: told how it ends, if it has to be ended so.
    """

    def end_now() -> None:
        ending = ending_of(Interrupted("told to stop before the model was finished"))
        last_word(ending)
        logging.shutdown()
        os._exit(ending.exit_code)

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            end_now()
        stop.set()
        deadline = Timer(GRACE_S, end_now)
        deadline.daemon = True
        deadline.start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
