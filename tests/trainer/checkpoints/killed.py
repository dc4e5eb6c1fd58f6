"""`embedtune run`, killed by SIGKILL: python -m tests.trainer.checkpoints.killed STEP MS run ...

The signal comes MS milliseconds after the step of that number (from 1) has begun, from another
thread, so that it meets the training, the copying of a state, and the writing of a checkpoint.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

from embedtune_trainer import cli
from embedtune_trainer.checkpoints.shelf import Shelf
from embedtune_trainer.training.step import Stepper

WRITTEN_WITHIN_S: Final = 60


def main() -> int:
    """Run it; returns only if the training had fewer steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--behind", type=int, help="see arrange")
    parser.add_argument("step", type=int)
    parser.add_argument("ms", type=float)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    arrange(arguments.step, arguments.ms, arguments.behind)
    return cli.main(arguments.command)


def arrange(fatal: int, delay_ms: float, behind: int | None = None) -> None:
    """Let this process be killed so long after the step of this number (from 1) has begun.

    Args:
        fatal: the step.
        delay_ms: so many milliseconds into it.
        behind: begin that step only once the storage has a checkpoint at most so many steps before
            it, however busy the machine is; None: what is written by then is left to chance.
    """
    take, put = Stepper.take, Shelf.put
    written = threading.Event()

    def telling(self: Shelf, folder: Path, step: int, keep: int) -> None:
        put(self, folder, step, keep)
        if behind is not None and step >= fatal - behind:
            written.set()

    def killing(self: Stepper, step: int, *arguments: Any) -> Any:
        if step + 1 == fatal:
            if behind is not None and not written.wait(WRITTEN_WITHIN_S):
                raise RuntimeError(f"no checkpoint within {behind} steps of step {fatal}")
            threading.Timer(delay_ms / 1000, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return take(self, step, *arguments)

    Shelf.put = telling  # type: ignore[method-assign]
    Stepper.take = killing  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
