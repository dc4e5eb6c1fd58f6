"""What the steps gave, summed up on the device, so that no step has to wait for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from embedtune_trainer.errors import Collapsed, Diverged, NothingLearnt
from embedtune_trainer.progress import Reporter
from embedtune_trainer.training.collapse import LEAST_SPREAD, effective_rank, spread
from embedtune_trainer.training.step import Outcome

ADVICE: Final = "lower spec.training.learningRate or raise spec.training.warmupRatio"
NOTHING: Final = (
    "the classes are far apart already, or no two rows of a batch belong together; set another"
    " spec.objective.loss, a larger margin in lossOptions, or other data"
)


@dataclass(frozen=True)
class FitReport:
    """How a training went.

    Attributes:
        seconds: from the first step's begin to the last one's end.
        steps: optimizer steps.
        rows: rows that the steps saw, repeats counted.
        first_loss: of the first step.
        last_loss: of the last step.
        mean_terms: terms of the loss in a step (triplets above 0, or pairs), on average.
        steps_without_terms: steps from which nothing was learnt.
        largest_change: the largest change of any trained weight, above 0.
        effective_rank: of the last batch's embeddings, see collapse.
        data_wait_ratio: share of the seconds in which the model waited for data.
        batch_size: rows in a batch at most, as given or found.
        micro_batch: items that an encoder took at a time, as given or found; None: all.
        learning_rate: the highest, as given or by default.
        stopped_early: whether it ended before its last epoch, since it got no better.
        kept_step: the step whose weights were kept; 0: the last one's.
    """

    seconds: float
    steps: int
    rows: int
    first_loss: float
    last_loss: float
    mean_terms: float
    steps_without_terms: int
    largest_change: float
    effective_rank: float
    data_wait_ratio: float
    batch_size: int = 0
    micro_batch: int | None = None
    learning_rate: float = 0.0
    stopped_early: bool = False
    kept_step: int = 0


class Watch:
    """Sums over the steps, and the error when they lead nowhere."""

    def __init__(self, device: torch.device) -> None:
        self.first_loss = self.last_loss = 0.0
        self.rows = 0
        self._terms = torch.zeros((), dtype=torch.float64, device=device)
        self._empty = torch.zeros((), dtype=torch.int64, device=device)
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self._loss = torch.zeros((), device=device)
        self._losses = torch.zeros((), dtype=torch.float64, device=device)
        self._summed = 0
        self._embedded: Sequence[Tensor] = ()
        self._rank = 0.0
        self._wait_s = 0.0
        self._unreported_rows = 0
        self._unreported_wait_s = 0.0

    def add(self, outcome: Outcome, rows: int, wait_s: float) -> None:
        """A step is done; nothing waits for its outcome."""
        self._loss = outcome.loss
        self._losses += outcome.loss
        self._summed += 1
        self._embedded = outcome.embedded
        self._finite &= outcome.finite
        self._terms += outcome.terms
        self._empty += (outcome.terms == 0) | (outcome.loss == 0)
        self.rows += rows
        self._unreported_rows += rows
        self._wait_s += wait_s
        self._unreported_wait_s += wait_s

    def report(self, reporter: Reporter, step: int, epoch: int) -> None:
        """Wait for the last outcome, and tell it.

        Raises:
            Diverged: an embedding or a loss is not a number.
        """
        self.last_loss = float(self._loss)
        if step == 1:
            self.first_loss = self.last_loss
        if not bool(self._finite):
            raise Diverged(f"embeddings or loss are not numbers at or before step {step}; {ADVICE}")
        reporter.step(step, epoch, self.last_loss, self._unreported_rows, self._unreported_wait_s)
        self._unreported_rows = 0
        self._unreported_wait_s = 0.0

    @property
    def mean_loss(self) -> float:
        """Of the steps since `begin_mean`; waits for the device."""
        return float(self._losses) / max(1, self._summed)

    def begin_mean(self) -> None:
        """The mean loss is taken anew."""
        self._losses.zero_()
        self._summed = 0

    def check_learning(self, step: int) -> None:
        """Judge the steps so far by the last batch; waits for the device.

        Raises:
            Collapsed: its embeddings are all alike.
            NothingLearnt: none of the steps so far had anything to learn from.
        """
        if int(self._empty) == step:
            raise NothingLearnt(f"the loss was 0 in each of the first {step} steps: {NOTHING}")
        if any(len(x) > 1 and float(spread(x)) < LEAST_SPREAD for x in self._embedded):
            raise Collapsed(f"all embeddings are the same after step {step}; {ADVICE}")
        self._rank = min(float(effective_rank(x)) for x in self._embedded)

    def summary(
        self, module: nn.Module, before: Mapping[str, Tensor], seconds: float, steps: int
    ) -> FitReport:
        """What the training gave.

        Args:
            module: as it is now.
            before: its weights at the begin, by name.
            seconds: that it took.
            steps: that were taken.

        Raises:
            Diverged: a weight is not a number.
            NothingLearnt: no weight has changed.
        """
        changes = [
            (now.detach() - before[name]).abs().amax()
            for name, now in module.named_parameters()
            if now.requires_grad and now.numel()
        ]
        change = float(torch.stack(changes).amax())
        if not np.isfinite(change):
            raise Diverged(f"a weight is not a number after step {steps}; {ADVICE}")
        if change == 0:
            raise NothingLearnt(f"no weight has changed in {steps} steps: {NOTHING}")
        return FitReport(
            seconds=seconds,
            steps=steps,
            rows=self.rows,
            first_loss=self.first_loss,
            last_loss=self.last_loss,
            mean_terms=float(self._terms) / steps,
            steps_without_terms=int(self._empty),
            largest_change=change,
            effective_rank=self._rank,
            data_wait_ratio=self._wait_s / seconds,
        )

    def state_dict(self) -> dict[str, float | int]:
        """The sums, for a checkpoint; waits for the device."""
        return {
            "first_loss": self.first_loss,
            "last_loss": self.last_loss,
            "rank": self._rank,
            "rows": self.rows,
            "terms": float(self._terms),
            "empty": int(self._empty),
            "wait_s": self._wait_s,
            "losses": float(self._losses),
            "summed": self._summed,
        }

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Go on from there."""
        self.first_loss = float(state["first_loss"])
        self.last_loss = float(state["last_loss"])
        self._rank = float(state["rank"])
        self.rows = int(state["rows"])
        self._terms.fill_(state["terms"])
        self._empty.fill_(state["empty"])
        self._wait_s = float(state["wait_s"])
        self._losses.fill_(state["losses"])
        self._summed = int(state["summed"])
