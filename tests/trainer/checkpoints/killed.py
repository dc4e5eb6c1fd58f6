"""`embedtune run`, killed by SIGKILL: python -m tests.trainer.checkpoints.killed STEP MS run ...

The signal comes MS milliseconds after the step of that number (from 1) has begun, from another
thread, so that it meets the training, the copying of a state, and the writing of a checkpoint.
"""

import os
import signal
import sys
import threading
from typing import Any

from embedtune_trainer import cli
from embedtune_trainer.training.step import Stepper


def main() -> int:
    """Run it; returns only if the training had fewer steps."""
    arrange(int(sys.argv[1]), float(sys.argv[2]))
    return cli.main(sys.argv[3:])


def arrange(fatal: int, delay_ms: float) -> None:
    """Let this process be killed so long after the step of this number (from 1) has begun."""
    take = Stepper.take

    def killing(self: Stepper, step: int, *arguments: Any) -> Any:
        if step + 1 == fatal:
            threading.Timer(delay_ms / 1000, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return take(self, step, *arguments)

    Stepper.take = killing  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
