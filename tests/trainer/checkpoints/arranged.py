"""A run to which something happens: python -m tests.trainer.checkpoints.arranged WHAT RANK STEP ...

What follows are the arguments of `embedtune`, or of `python -m embedtune_trainer` if they begin
with a dash. In the process of that rank, in the step of that number (from 1), one of these happens:

    sigterm   torchrun is told to stop; each later step waits, so that the signal arrives in time
    raise     a defect
    nan       its weights are numbers no more
    kill      SIGKILL to the process
    stop      SIGSTOP to the process, which hangs from then on
    slow      each later step waits a second
"""

import os
import signal
import sys
import time
from typing import Any

from embedtune_trainer import cli, runtime
from embedtune_trainer.training.step import Stepper


def main() -> int:
    """Run it."""
    what, rank, step, *arguments = sys.argv[1:]
    if os.environ["RANK"] == rank:
        arrange(what, int(step))
    return runtime.main(arguments) if arguments[0].startswith("-") else cli.main(arguments)


def arrange(what: str, fatal: int) -> None:
    """Let it happen in this process."""
    take = Stepper.take

    def changed(self: Stepper, step: int, *arguments: Any) -> Any:
        if step + 1 == fatal and what == "sigterm":
            os.kill(os.getppid(), signal.SIGTERM)
        elif step + 1 == fatal and what == "raise":
            raise ValueError("something is wrong in this process alone")
        elif step + 1 == fatal and what == "nan":
            for parameter in self.trained:
                parameter.data.fill_(float("nan"))
        elif step + 1 == fatal and what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif step + 1 == fatal and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if step + 1 > fatal:
            time.sleep(1.0 if what == "slow" else 0.5)
        return take(self, step, *arguments)

    Stepper.take = changed  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
