"""Gathers while a run goes what its report is made of, so that the run itself stays short."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune_api.job import FineTuneJob
from embedtune_trainer.artifact import ForPeople
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.evaluation.examples import Examples
from embedtune_trainer.evaluation.measures import Stop
from embedtune_trainer.progress import clock_time
from embedtune_trainer.reporting.card import CardFacts
from embedtune_trainer.reporting.files import write_report
from embedtune_trainer.reporting.hardware import hardware, memory_peak
from embedtune_trainer.reporting.history import History
from embedtune_trainer.reporting.licence import licence_of
from embedtune_trainer.reporting.record import ExampleSearches, Intervals, RunRecord
from embedtune_trainer.reporting.sample import Sample, thumbnails
from embedtune_trainer.rows.table import Rows
from embedtune_trainer.sources.fetch import Fetched


@dataclass(frozen=True)
class Told:
    """What a run knows at its end.

    Attributes:
        headline: the metric that the job is judged by.
        before: all metrics of the untouched model.
        after: all of the tuned one.
        objective: what it was trained with.
        embedding_dim: D.
        seconds: of the training.
        rows: that its steps saw, repeats counted.
        data_wait_ratio: share of the seconds in which the model waited for data.
        data: what was trained on, a mapping for each set, as training.json has it.
        brought: the backbones by URI.
        modules: the table of the network's modules, or nothing.
        intervals: by metric.
        examples: queries with their neighbours, of each way to search.
        notes: what a reader must know, sentences.
    """

    headline: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    objective: str
    embedding_dim: int
    seconds: float
    rows: int
    data_wait_ratio: float
    data: Sequence[Mapping[str, Any]]
    brought: Mapping[str, Fetched]
    modules: str = ""
    intervals: Mapping[str, Intervals] = field(default_factory=dict)
    examples: Sequence[Examples] = ()
    notes: Sequence[str] = ()


class Scribe:
    """Looks at the same held-out rows before and after, and writes the report.

    Attributes:
        history: the Reporter that remembers the course.
    """

    def __init__(self, job: FineTuneJob, held_out: Rows) -> None:
        self.history = History()
        self._job = job
        self._sample = Sample.of(held_out, job.spec.training.seed)
        self._before_ND: NDArray[np.float32] | None = None
        self._after_ND: NDArray[np.float32] | None = None
        self._ended_at = 0.0

    def look_before(self, encoders: Encoders, metrics: Mapping[str, float], stop: Stop) -> None:
        """Remember the untouched model's metrics, and embed the map's rows by it.

        Raises:
            Interrupted: stop() was true.
        """
        self.history.measured(0, 0, metrics)
        self._before_ND = self._sample.encode(encoders, self._batch_size, stop)

    def look_after(
        self, encoders: Encoders, metrics: Mapping[str, float], steps: int, stop: Stop
    ) -> None:
        """The same of the tuned model; the training is over now, after so many steps.

        Raises:
            Interrupted: stop() was true.
        """
        self._ended_at = time.time()
        self.history.measured(steps, self._job.spec.training.epochs, metrics)
        self._after_ND = self._sample.encode(encoders, self._batch_size, stop)

    def for_people(self, told: Told) -> ForPeople:
        """The card's facts, and the report, made when the model's folder is there."""
        machine = hardware()
        facts = CardFacts(
            licences={uri: licence_of(fetched.folder) for uri, fetched in told.brought.items()},
            intervals=told.intervals,
            hardware=machine,
            seconds=told.seconds,
            rows={str(one["source"]): int(one["rows"]) for one in told.data},
        )

        def write(folder: Path) -> None:
            write_report(self.record(told, machine), folder, self._ended_at)

        return ForPeople(told.modules, facts, write)

    def record(self, told: Told, machine: Mapping[str, str]) -> RunRecord:
        """The run as its report shows it; `machine` is what it ran on, in words."""
        shown = None
        if self._before_ND is not None and self._after_ND is not None:
            shown = self._sample.map(self._before_ND, self._after_ND)
        return RunRecord(
            name=self._job.metadata.name,
            headline=told.headline,
            before=told.before,
            after=told.after,
            summary=self._summary(told, machine),
            course=self.history.course,
            intervals=told.intervals,
            map=shown,
            examples=[_with_images(found) for found in told.examples],
            data=told.data,
            settings=self._job.trainer_input(),
            modules=told.modules,
            notes=told.notes,
        )

    def _summary(self, told: Told, machine: Mapping[str, str]) -> dict[str, str]:
        return {
            "base model": ", ".join(self._job.spec.model.backbones),
            "objective": told.objective,
            "dimensions": f"{told.embedding_dim:,}",
            "training took": clock_time(told.seconds),
            "rows per second": f"{told.rows / max(told.seconds, 1e-9):,.0f}",
            "waited for data": f"{told.data_wait_ratio:.1%}",
            "most memory": memory_peak(),
            **machine,
        }

    @property
    def _batch_size(self) -> int:
        return self._job.spec.data.evaluation.batch_size


def _with_images(found: Examples) -> ExampleSearches:
    """The examples with thumbnails of the images among them."""
    asked = {example.query_row for example in found.examples}
    hits = {hit.row for e in found.examples for hit in (*e.before, *e.after)}
    return ExampleSearches(
        found.way,
        found.examples,
        query_images=thumbnails(found.queries, asked),
        hit_images=thumbnails(found.index, hits),
    )
