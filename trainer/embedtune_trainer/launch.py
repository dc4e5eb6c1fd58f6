"""torchrun for a pod: python -m embedtune_trainer.launch --nproc-per-node 2 -m embedtune_trainer

It takes torchrun's arguments. Where torchrun ends with 1 whatever its processes ended with, this
ends with the exit code of the contract, that of the process which failed first. Its processes have
the time to leave a checkpoint when they are told to stop, and their share of the CPUs.

In a pod of several that train together (contract.ENV_NODES) it first meets the others, and when one
of those goes, its own processes end, too: see `meeting`.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGTERM
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Final

from embedtune_api.contract import TERMINATION_LOG, ExitCode, TrainResult
from embedtune_trainer.errors import Interrupted, PeerLost, Regrouped, TrainerError
from embedtune_trainer.failures import ending_of
from embedtune_trainer.machine import cpu_threads
from embedtune_trainer.meeting import Fellows, Meeting, meet
from embedtune_trainer.reception import Patience, Place
from embedtune_trainer.stopping import SAVING_GRACE_S

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

SHUTDOWN_S: Final = int(SAVING_GRACE_S) + 5
"""Seconds from SIGTERM to SIGKILL; the operator's pods have 60."""
PARTING_S: Final = 5.0
"""Seconds that processes have to end by themselves once another node is gone. Those of the first
node have SAVING_GRACE_S: the other may have gone since it was told to stop, and then the checkpoint
is being written."""
ENV_PATIENCE: Final = "EMBEDTUNE_MEETING_PATIENCE_S"
"""reception.Patience, its first three numbers with commas between; for tests."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the processes to their end; the exit code is of the contract."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        with _told_to_stop():
            place = Place.of_environment()
            if place is None:
                return _run(argv)
            given = os.environ.get(ENV_PATIENCE)
            patience = Patience(*map(float, given.split(","))) if given else Patience()
            return _run_with(meet(place, patience), place, argv)
    except TrainerError as error:
        return _end(error, argv)


def _run_with(fellows: Fellows, place: Place, argv: list[str]) -> int:
    """Run this node's processes among those of the others.

    Raises:
        PeerLost: another node is gone, and nothing had failed here before.
        Regrouped: a node has come, and these have ended to meet it.
    """
    from torch.distributed import DistError

    ended, has_come = Event(), Event()
    cut_off: list[float] = []

    def part() -> None:
        if not ended.wait(PARTING_S if place.node else SAVING_GRACE_S):
            cut_off.append(time.time())
            _kill_children()

    def make_room() -> None:
        has_come.set()
        os.kill(os.getpid(), SIGTERM)  # torchrun's: all nodes' processes stop at the same step

    fellows.watch(part, make_room)
    code: int = ExitCode.INTERNAL_ERROR
    try:
        code = _run([*_meant_for(fellows.meeting), *argv], cut_off)
    except DistError as error:  # torchrun's store, if a node goes as soon as they have met
        raise PeerLost(f"the nodes have met and then lost each other ({error})") from error
    except Interrupted:  # torchrun had not begun
        if not has_come.is_set():
            raise
        code = ExitCode.INTERRUPTED
    finally:
        ended.set()
        fellows.leave(well=code == ExitCode.DONE)
    if has_come.is_set() and code == ExitCode.INTERRUPTED:
        raise Regrouped("stopped at a checkpoint, since a node has come that was missing")
    return code


def _meant_for(meeting: Meeting) -> list[str]:
    """Arguments of torchrun for a node."""
    return [
        *("--nnodes", str(meeting.nodes), "--node-rank", str(meeting.rank)),
        *("--master-addr", meeting.host, "--master-port", str(meeting.port)),
        *("--rdzv-id", meeting.generation, "--rdzv-conf", "timeout=120"),
    ]


def _run(argv: Sequence[str], cut_off: Sequence[float] = ()) -> int:
    """Run torchrun.

    Args:
        argv: its arguments.
        cut_off: when the processes were killed since another node was gone (s since 1970), if so.

    Raises:
        PeerLost: they were, and none had failed before.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import determine_local_world_size, parse_args, run

    arguments = parse_args(list(argv))  # type: ignore[no-untyped-call]
    if arguments.shutdown_timeout is None:
        arguments.shutdown_timeout = SHUTDOWN_S
    own_threads = cpu_threads() // determine_local_world_size(arguments.nproc_per_node)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, own_threads)))
    try:
        run(arguments)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        first = min(failure.timestamp for failure in error.failures.values())
        if cut_off and first >= int(cut_off[0]):
            raise PeerLost("another node is gone, and what waited for it was ended") from None
        return exit_code(error.failures)
    except SignalException:
        # told to stop when the model was being put in its place, they have ended well all the same
        return ExitCode.DONE if _has_result(_last_word(argv)) else ExitCode.INTERRUPTED
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


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """Within, SIGTERM raises Interrupted, until torchrun takes it over.

    The first process of a container would not hear it otherwise.
    """

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        raise Interrupted("told to stop before the training began")

    before = signal.signal(SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(SIGTERM, before)


def _kill_children() -> None:
    """SIGKILL to the processes that torchrun has started, each the leader of its group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # pid (name) state parent ...
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid():
                os.killpg(int(stat.parent.name), signal.SIGKILL)


def _end(error: TrainerError, argv: Sequence[str]) -> int:
    """Leave the last word where the processes would have left theirs; the exit code."""
    from embedtune_trainer.runtime import write_result

    ending = ending_of(error)
    sys.stderr.write(f"embedtune: {ending.message}\n")
    write_result(ending.result, _last_word(argv))
    return ending.exit_code


def _last_word(argv: Sequence[str]) -> Path:
    """Where the processes leave theirs."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--termination-log", type=Path, default=Path(TERMINATION_LOG))
    path: Path = parser.parse_known_args(argv)[0].termination_log
    return path


def _has_result(last_word: Path) -> bool:
    """Whether it says where the model is."""
    try:
        return TrainResult.model_validate_json(last_word.read_text()).model is not None
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(main())
