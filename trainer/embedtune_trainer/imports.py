"""Importing much at once."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import within, without the garbage collector.

    What modules make stays, and the collector would look through all of it again and again. So it
    rests within, and never looks at what is there by then: a seventh of the time from the start of
    a process to its first step. At the interpreter's end all is collected as ever, since libraries
    tell on stderr what is not.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)
        gc.enable()
