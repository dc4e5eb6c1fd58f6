"""torchrun for a pod: python -m embedtune_trainer.launch --nproc-per-node 2 -m embedtune_trainer

It takes torchrun's arguments. Where torchrun ends with 1 whatever its processes ended with, this
ends with the exit code of the contract, that of the process which failed first. Its processes have
the time to leave a checkpoint when they are told to stop, and their share of the CPUs.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from signal import SIGTERM
from typing import TYPE_CHECKING, Final

from embedtune_api.contract import ExitCode
from embedtune_trainer.machine import cpu_threads
from embedtune_trainer.stopping import SAVING_GRACE_S

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

SHUTDOWN_S: Final = int(SAVING_GRACE_S) + 5
"""Seconds from SIGTERM to SIGKILL; the operator's pods have 60."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the processes to their end; the exit code is of the contract."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import determine_local_world_size, parse_args, run

    arguments = parse_args(sys.argv[1:] if argv is None else list(argv))  # type: ignore[no-untyped-call]
    if arguments.shutdown_timeout is None:
        arguments.shutdown_timeout = SHUTDOWN_S
    own_threads = cpu_threads() // determine_local_world_size(arguments.nproc_per_node)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, own_threads)))
    try:
        run(arguments)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        return exit_code(error.failures)
    except SignalException:
        return ExitCode.INTERRUPTED
    return ExitCode.DONE


def exit_code(failures: "Mapping[int, ProcessFailure]") -> int:
    """The first failure's; of those within one second, a kill's, which the others followed.

    Args:
        failures: by rank; torchrun sends SIGTERM to those that still run after the first.
    """
    told = sorted((failure.timestamp, failure.exitcode) for failure in failures.values())
    codes = [code for _, code in told if code != -SIGTERM]
    first = codes[0] if codes else -SIGTERM
    return first if first > 0 else 128 - first


if __name__ == "__main__":
    sys.exit(main())
