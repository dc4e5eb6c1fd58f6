"""What the training talks to: when a checkpoint is due, here it is, what is there to go on from."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import torch

from embedtune_api.checkpoints import Checkpoints
from embedtune_trainer.checkpoints.files import Damaged, Snapshot, hardware, load, verified, write
from embedtune_trainer.checkpoints.identity import Identity
from embedtune_trainer.checkpoints.shelf import Shelf
from embedtune_trainer.checkpoints.state import Stateful
from embedtune_trainer.checkpoints.writer import PATIENT, Backoff, Writer
from embedtune_trainer.errors import BadSpec, SourceNotFound, TrainerError
from embedtune_trainer.progress import Reporter

LAST_WORTH_S: Final = 60.0
"""Before the last step there is one more checkpoint if so many seconds have passed since the one
before, so that what follows the training (measuring, export) cannot cost it."""
LAST_TIMEOUT_S: Final = 45.0
"""Seconds that the last checkpoint may take once the run has been told to stop."""
WRITTEN: Final = "written"
"""The folder of the checkpoints on their way: one in transfer and one behind it at most."""


@dataclass(frozen=True)
class Written:
    """A checkpoint that lies on the disk."""

    step: int
    folder: Path
    begun: float
    """When it began to be written; seconds on the keeper's clock."""


class Keeper:
    """The checkpoints of one run; a context manager, and closed at its end.

    Args:
        shelf: where they are.
        options: how often, and how many.
        identity: what this run is.
        work_dir: a folder of its own, for files on their way.
        reporter: told of what happens.
        backoff: between the tries of one checkpoint.
        clock: seconds.

    Attributes:
        found: what was found for the fields of spec.training that say auto; to be set before the
            first offer.
        also: what else goes from step to step, saved and taken up again with the training.
    """

    def __init__(
        self,
        shelf: Shelf,
        options: Checkpoints,
        identity: Identity,
        work_dir: Path,
        reporter: Reporter,
        backoff: Backoff = PATIENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shelf = shelf
        self._options = options
        self._identity = identity
        self._work_dir = work_dir
        self._reporter = reporter
        self._clock = clock
        self.found: Mapping[str, int | None] = {}
        self.also: dict[str, Stateful] = {}
        self._offered = 0
        self._since = clock()
        self._to_disk: Writer[Snapshot] = Writer(self._write, self._tell_failed, backoff)
        self._to_storage: Writer[Written] = Writer(self._put, self._tell_failed, backoff, _remove)

    def newest(self, device: torch.device) -> tuple[int, dict[str, Any]] | None:
        """Steps done and state of the newest good checkpoint; None if there is none.

        A damaged one is passed over, with a note, for the one before it.

        Raises:
            BadSpec: it is of another spec, other data or another version; the message says which.
            TrainerError: the storage does not answer, or refuses.
        """
        for step in self._shelf.complete():
            folder = self._work_dir / "read"
            try:
                state = self._read(step, folder, device)
            except (Damaged, SourceNotFound) as why:
                self._reporter.note(
                    "checkpoint is damaged, the one before it is tried", step=step, why=why
                )
                continue
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            self._offered = step
            self._since = self._clock()
            self._reporter.note("going on from a checkpoint", step=step, uri=self._shelf.uri)
            return step, state
        return None

    def due(self, step: int, steps: int) -> bool:
        """Whether to offer the state after this step, of so many; never after the last one."""
        if step >= steps:
            return False
        if self._options.every_steps and step % self._options.every_steps == 0:
            return True
        waited_s = self._clock() - self._since
        if step == steps - 1 and waited_s >= LAST_WORTH_S:
            return True
        return waited_s >= self._options.every_minutes * 60

    def offer(self, step: int, state: dict[str, Any], device: torch.device) -> None:
        """Copy the state, and write it in the background.

        The copy before it is waited for until it lies on the disk, so that there is never more
        than one in memory, however long the storage is away.
        """
        self._to_disk.wait(None)
        self._since = self._clock()
        self._offered = step
        self._to_disk.offer(Snapshot.take(step, state, self._identity, device, self.found))

    def offer_last(
        self, step: int, capture: Callable[[], dict[str, Any]], device: torch.device
    ) -> None:
        """The run ends early: wait until the state after this step is written.

        Nothing is written if no step was taken since the last one, or none at all.
        """
        if step > self._offered:
            self.offer(step, capture(), device)
        if not self.settled(LAST_TIMEOUT_S):
            self._reporter.note("the last checkpoint could not be written in time", step=step)

    def settled(self, timeout_s: float) -> bool:
        """Whether everything offered is in the storage within so many seconds."""
        until = time.monotonic() + timeout_s
        return self._to_disk.wait(timeout_s) and self._to_storage.wait(until - time.monotonic())

    def close(self) -> None:
        """Drop what is not yet written; returns when nothing is being written any more."""
        self._shelf.close()
        self._to_disk.close()
        self._to_storage.close()
        shutil.rmtree(self._work_dir / WRITTEN, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, step: int, folder: Path, device: torch.device) -> dict[str, Any]:
        there = self._shelf.fetch(step, folder)
        manifest = verified(there)
        if manifest.step != step:
            raise Damaged(f"it is of step {manifest.step}")
        if different := manifest.identity.differences(self._identity):
            place = self._shelf.place(step)
            raise BadSpec(
                f"the checkpoint {place} is of another run: {'; '.join(different)}. Put back what"
                f" has changed to go on from it, or remove {self._shelf.uri} to begin anew"
            )
        if manifest.hardware != hardware(device):
            self._reporter.note(
                "other hardware than the checkpoint's, the result may differ in its last bits",
                was=manifest.hardware,
                now=hardware(device),
            )
        return load(there)

    def _write(self, snapshot: Snapshot) -> None:
        """To the disk, in the place of what waits there for the storage; in a thread of its own."""
        begun = self._clock()
        if waiting := self._to_storage.take_back():
            _remove(waiting)
        folder = self._work_dir / WRITTEN / str(snapshot.step)
        write(snapshot, folder)
        self._to_storage.offer(Written(snapshot.step, folder, begun))

    def _put(self, written: Written) -> None:
        """To the storage, in a thread of its own."""
        self._shelf.put(written.folder, written.step, self._options.keep)
        _remove(written)
        seconds = round(self._clock() - written.begun, 2)
        self._reporter.note("checkpoint written", step=written.step, seconds=seconds)

    def _tell_failed(self, late: Snapshot | Written, error: TrainerError) -> None:
        self._reporter.note(
            "checkpoint not written yet, it is tried again", step=late.step, why=error
        )


def _remove(written: Written) -> None:
    shutil.rmtree(written.folder)
