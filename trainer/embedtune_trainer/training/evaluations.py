"""The measurements while a training goes on, and what follows from them."""

from collections.abc import Callable, Mapping
from typing import Any

from embedtune_api.selection import Every
from embedtune_trainer.evaluation.outcome import Outcome
from embedtune_trainer.training.selection import Selection

EACH_EPOCH = Every(epochs=1)


class Evaluations:
    """Measures when it is due.

    Attributes:
        selection: judges the training.
    """

    def __init__(
        self,
        measure: Callable[[], Outcome],
        every: Every,
        epoch_steps: int,
        steps: int,
        selection: Selection,
    ) -> None:
        """Of a training.

        Args:
            measure: the model as it stands.
            every: how often.
            epoch_steps: steps of an epoch.
            steps: of the whole training.
            selection: judges the training.
        """
        self._measure = measure
        self._every_steps = every.steps or (every.epochs or 1) * epoch_steps
        self._steps = steps
        self._at = 0
        self.selection = selection
        self._last: Outcome | None = None
        self._kept: Outcome | None = None

    def due(self, step: int) -> bool:
        """Whether the model is to be measured after so many steps; always after the last one."""
        if step in (0, self._at):
            return False
        return step % self._every_steps == 0 or step == self._steps

    def take(self, step: int, loss: float) -> Mapping[str, float]:
        """Measure the model after so many steps.

        Args:
            step: how many.
            loss: their mean since the measurement before.

        Raises:
            Interrupted: the run was told to stop; it is still due.
        """
        self._last = self._measure()
        self._at = step
        self.selection.take(step, self._last, loss)
        if self.selection.kept_step == step:
            self._kept = self._last
        return self._last

    @property
    def of_kept(self) -> Outcome | None:
        """What was measured of the weights that are kept; None if another attempt measured them."""
        return self._last if self.selection.kept_step is None else self._kept

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"at": self._at, "selection": self.selection.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._at = state["at"]
        self.selection.load_state_dict(state["selection"])
