"""How the local cluster speaks: one line per fact on stderr, so that stdout stays for answers."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PLAIN_EVERY_S = 30.0


class Lacking(Exception):
    """Something that this machine lacks; the message names it and the command that mends it."""


def say(message: str) -> None:
    """Writes one line to stderr."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def timed(what: str, hint: str = "") -> Iterator[None]:
    """Says what is being done and, while it lasts and at its end, for how many seconds.

    On a terminal one line is rewritten each second; elsewhere a line comes every 30 seconds, so
    that a log shows that a four-minute build is alive.
    """
    started = time.monotonic()
    done = threading.Event()
    terminal = sys.stderr.isatty()
    say_line = _rewrite if terminal else say
    say_line(f"{what} ...{f' ({hint})' if hint else ''}")
    ticker = threading.Thread(
        target=_tick, args=(what, started, done, say_line, 1.0 if terminal else _PLAIN_EVERY_S)
    )
    ticker.daemon = True
    ticker.start()
    try:
        yield
    except BaseException:
        outcome = "failed after "
        raise
    else:
        outcome = ""
    finally:
        done.set()
        ticker.join()
        say_line(f"{what} ... {outcome}{time.monotonic() - started:.0f} s")
        if terminal:
            print(file=sys.stderr, flush=True)


def _tick(
    what: str,
    started: float,
    done: threading.Event,
    say_line: Callable[[str], None],
    every_s: float,
) -> None:
    while not done.wait(every_s):
        say_line(f"{what} ... {time.monotonic() - started:.0f} s so far")


def _rewrite(message: str) -> None:
    print(f"\r\033[K{message}", end="", file=sys.stderr, flush=True)
