"""What a job is judged by, known to be measured on its data before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from embedtune_api.selection import Gate
from embedtune_api.spec import FineTuneJobSpec
from embedtune_trainer.evaluation.measures import Measure
from embedtune_trainer.evaluation.plan import headline_metric
from embedtune_trainer.training.selection import (
    Monitors,
    check_gate,
    check_wise_ft,
    monitors,
    refusal,
)


@dataclass(frozen=True)
class Judge:
    """The metrics that decide.

    Attributes:
        headline: the one that the status shows.
        monitors: those that are watched while it is trained.
        gate: what the model must reach, if anything.
    """

    headline: str
    monitors: Monitors
    gate: Gate | None

    @classmethod
    def of(cls, spec: FineTuneJobSpec, measure: Measure) -> Self:
        """By the job's spec, on its data.

        Raises:
            BadSpec: a metric is not measured on this data, or the spec contradicts itself.
        """
        headline = headline_metric(spec.data, measure)
        watched = monitors(spec.training, measure.metrics, headline)
        gate = spec.data.evaluation.gate
        if gate is not None:
            check_gate(gate, measure.metrics)
        if spec.training.wise_ft is not None:
            check_wise_ft(spec.model)
        return cls(headline, watched, gate)

    def refusal(self, before: Mapping[str, float], after: Mapping[str, float]) -> str | None:
        """Why the model does not pass the gate; None if it does, or there is none."""
        return None if self.gate is None else refusal(self.gate, self.headline, before, after)
