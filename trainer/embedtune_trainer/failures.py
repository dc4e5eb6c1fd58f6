"""How whatever ends a run is told: exit code and reason of the contract, and a message."""

import re
import traceback
from dataclasses import dataclass

from embedtune_api import reasons
from embedtune_api.base import InvalidJob
from embedtune_api.contract import OOM_EXIT_CODE, ExitCode, Failure, TrainResult
from embedtune_trainer.errors import TrainerError

TRACEBACK_LINES = 12
"""Lines of a traceback that go into the message; the log has all of it."""
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|std::bad_alloc")


@dataclass(frozen=True)
class Ending:
    """A failed run's exit code and last word."""

    exit_code: int
    reason: str
    message: str
    expected: bool = True
    """Whether the message says it all; otherwise the log needs the traceback."""

    @property
    def result(self) -> TrainResult:
        """The last word."""
        return TrainResult(failure=Failure(reason=self.reason, message=self.message))


class EndedElsewhere(Exception):
    """This process ends since another one of the run has failed, and with the other's ending.

    Attributes:
        rank: the other's.
        ending: its.
    """

    def __init__(self, rank: int, ending: Ending) -> None:
        super().__init__(f"process {rank} failed: {ending.message}")
        self.rank = rank
        self.ending = ending


def ending_of(error: BaseException) -> Ending:
    """What a run that raised this ends with.

    Memory that cannot be had is final: with the same limit it would only happen again. On the
    host it ends like the kernel's OOM kill, on the GPU the batch size is what to change.
    """
    if isinstance(error, EndedElsewhere):
        return error.ending
    if isinstance(error, TrainerError):
        reason = error.reason or error.exit_code.reason
        return Ending(error.exit_code, reason, str(error))
    if isinstance(error, InvalidJob):
        return _ending(ExitCode.BAD_SPEC, str(error))
    if _gpu_is_full(error):
        return _ending(
            ExitCode.BAD_SPEC,
            "spec.training.batchSize: a batch does not fit into the GPU's memory; set"
            " spec.training.microBatch to auto, which changes nothing else, or lower it or"
            f" spec.model.maxSeqLength ({first_line(error)})",
        )
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        message = (
            "the memory limit is too low for this job: raise spec.resources.memory, or lower"
            f" spec.training.batchSize ({first_line(error)})"
        )
        return Ending(OOM_EXIT_CODE, reasons.OOM_KILLED, message)
    tail = "".join(traceback.format_exception(error)).strip().splitlines()[-TRACEBACK_LINES:]
    message = "a defect in embedtune, please report it with the log:\n" + "\n".join(tail)
    return _ending(ExitCode.INTERNAL_ERROR, message, expected=False)


def on_another_node(rank: int, ending: Ending) -> Ending:
    """What a process ends with that was well itself: its pod is not the one that failed."""
    message = f"process {rank}, on another node, has ended: {ending.reason}: {ending.message}"
    return Ending(ExitCode.INTERRUPTED, reasons.PEER_LOST, message)


def first_line(error: BaseException) -> str:
    """The error's kind and the first line of its message."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _gpu_is_full(error: BaseException) -> bool:
    """By name, so that torch isn't imported for it."""
    return type(error).__name__ == "OutOfMemoryError" and "torch" in type(error).__module__


def _ending(code: ExitCode, message: str, *, expected: bool = True) -> Ending:
    return Ending(code, code.reason, message, expected)
