"""What becomes of rows that are wrong: the first ends the run, or they are counted and left out."""

from typing import Final, Literal

from embedtune_trainer.errors import BadData, TrainerError
from embedtune_trainer.rows.table import Skipped

KEPT_MESSAGES: Final = 100
MOST_SKIPPED: Final = 0.01
"""Share of the rows that onBadRow: skip may leave out."""
QUOTED: Final = 3


class Faults:
    """The wrong rows of one file."""

    def __init__(self, source: str, policy: Literal["fail", "skip"]) -> None:
        self.source = source
        self.skips = policy == "skip"
        self.count = 0
        self._first: list[str] = []

    def add(self, where: str, what: str, kind: type[TrainerError] = BadData) -> None:
        """A row is wrong.

        Raises:
            BadData: or `kind`, unless such rows are skipped.
        """
        message = f"{where}: {what}"
        if not self.skips:
            raise kind(f"{self.source}: {message}")
        self.count += 1
        if len(self._first) < KEPT_MESSAGES:
            self._first.append(message)

    def finish(self, rows: int) -> Skipped:
        """What was left out of that many rows.

        Raises:
            BadData: more than 1 % was.
        """
        if self.count > MOST_SKIPPED * rows:
            raise BadData(
                f"{self.source}: {self.count} of {rows} rows are wrong, and onBadRow: skip"
                f" leaves out 1 % at most; the first: {'; '.join(self._first[:QUOTED])}"
            )
        return Skipped(self.count, tuple(self._first))
