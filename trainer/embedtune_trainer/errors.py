"""Everything that can end a run, on one axis: final, or worth a retry.

    TrainerError
    ├── FinalError                 no retry can mend it
    │   ├── BadSpec                the spec asks for what cannot be done; names the field
    │   ├── BadData                names file, row and column
    │   ├── UnsupportedModel       the backbone's folder cannot be loaded
    │   ├── SourceNotFound         a URI names nothing
    │   ├── AccessDenied           the storage refuses the credentials
    │   ├── Diverged               the loss is not a number
    │   ├── Collapsed              all embeddings have become alike
    │   └── NothingLearnt          no step had anything to learn from
    └── RetryableError
        ├── StorageUnavailable     the storage does not answer
        ├── Interrupted            told to stop
        │   └── PeerStopped        another node's process has been told to stop
        └── PeerLost               another process of the training has ended, or does not come

The message is for the user: what is wrong, where, and what to do.
"""

from typing import ClassVar

from embedtune_api import reasons
from embedtune_api.contract import ExitCode


class TrainerError(Exception):
    """A run's end with a known cause."""

    exit_code: ClassVar[ExitCode]
    reason: ClassVar[str | None] = None
    """What conditions and events say of it; None: the exit code's."""
    raised_by: int | None = None
    """The process that it was raised in first, where that is another one."""


class FinalError(TrainerError):
    """What no retry can mend."""


class BadSpec(FinalError):
    """The spec asks for something that cannot be done; the message names the field."""

    exit_code = ExitCode.BAD_SPEC


class BadData(FinalError):
    """The data is wrong; the message names file, row and column."""

    exit_code = ExitCode.BAD_DATA


class UnsupportedModel(FinalError):
    """The backbone's folder is not one that can be loaded."""

    exit_code = ExitCode.UNSUPPORTED_MODEL


class SourceNotFound(FinalError):
    """A URI names nothing."""

    exit_code = ExitCode.NOT_FOUND


class AccessDenied(FinalError):
    """The storage refuses the credentials."""

    exit_code = ExitCode.ACCESS_DENIED


class Diverged(FinalError):
    """The loss is not a number any more."""

    exit_code = ExitCode.DIVERGED


class Collapsed(FinalError):
    """All embeddings have become one and the same."""

    exit_code = ExitCode.COLLAPSED


class NothingLearnt(FinalError):
    """No step had anything to learn from, or no weight has changed."""

    exit_code = ExitCode.NOTHING_LEARNT


class RetryableError(TrainerError):
    """What a retry may mend."""


class StorageUnavailable(RetryableError):
    """The storage does not answer."""

    exit_code = ExitCode.STORAGE_UNAVAILABLE


class Interrupted(RetryableError):
    """The trainer was told to stop."""

    exit_code = ExitCode.INTERRUPTED


class PeerStopped(Interrupted):
    """A process on another node was told to stop, and this one stops with it."""

    reason = reasons.PEER_LOST


class Regrouped(Interrupted):
    """Stopped, so that a node that has come since can train with the others."""

    reason = reasons.REGROUPED


class PeerLost(RetryableError):
    """Another process of the training has ended, and this one cannot go on without it."""

    exit_code = ExitCode.INTERRUPTED
    reason = reasons.PEER_LOST
