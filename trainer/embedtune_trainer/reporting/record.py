"""All that a report is made of, gathered once; the page is a function of it alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.reporting.history import Course

Bounds = tuple[float, float]
"""A confidence interval: its lower and its upper end."""


@dataclass(frozen=True)
class Intervals:
    """Of one metric: where it lies before, after, and how far apart the two are."""

    before: Bounds
    after: Bounds
    change: Bounds


class Hit(Protocol):
    """A neighbour, as evaluation.examples has it."""

    @property
    def row(self) -> int:
        """Which item of the index."""

    @property
    def text(self) -> str | None:
        """What it says, unless it is an image or a vector."""

    @property
    def score(self) -> float:
        """Its cosine with the query."""

    @property
    def relevant(self) -> bool:
        """Whether it belongs to the query."""


class Example(Protocol):
    """A query with its nearest neighbours, as evaluation.examples has it."""

    @property
    def query_row(self) -> int:
        """Which of the queries."""

    @property
    def query_text(self) -> str | None:
        """What it says, unless it is an image or a vector."""

    @property
    def label(self) -> str | None:
        """Its class, if it has one."""

    @property
    def before(self) -> Sequence[Hit]:
        """The untouched model's, nearest first."""

    @property
    def after(self) -> Sequence[Hit]:
        """The tuned model's."""


@dataclass(frozen=True)
class ExampleSearches:
    """Examples of one way to search, with what is to be seen of them.

    Attributes:
        way: from which items to which; empty if there is one way alone.
        examples: queries with their neighbours.
        query_images: JPEG of the queries by row; of texts and vectors none.
        hit_images: JPEG of the index by row.
    """

    way: str
    examples: Sequence[Example]
    query_images: Mapping[int, bytes] = field(default_factory=dict)
    hit_images: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Projection:
    """N points of a map, the same rows before and after.

    Attributes:
        name: the method, for example t-SNE.
        before_N2: where each row lies by the untouched model, float64.
        after_N2: where by the tuned one.
        note: what to know of the method, a sentence.
    """

    name: str
    before_N2: NDArray[np.float64]
    after_N2: NDArray[np.float64]
    note: str = ""


@dataclass(frozen=True)
class EmbeddingMap:
    """The same N rows in two dimensions, before and after.

    Attributes:
        groups: a label each; empty if the rows have none.
        titles: what each says, cut to a line.
        links: row numbers of two that belong together, for pairs.
        projections: ways to lay it out, the first shown.
        rows_in_all: the rows that these were drawn from.
    """

    groups: tuple[str, ...]
    titles: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    projections: tuple[Projection, ...]
    rows_in_all: int


@dataclass(frozen=True)
class RunRecord:
    """A finished run.

    Attributes:
        name: the job's.
        headline: the metric that it is judged by.
        before: all metrics of the untouched model.
        after: all of the tuned one.
        summary: a few facts for the head of the page, name and value.
        course: loss and metrics over time.
        intervals: by metric; those without have none.
        confidence: of the intervals, from 0 to 1.
        map: of held-out rows; None without it.
        examples: of each way to search.
        data: what the data are like, a mapping for each set.
        settings: the job, as it ran.
        modules: the table of the network's modules, as `embedtune inspect` shows it.
        notes: sentences that stand below the title, for what a reader must know.
    """

    name: str
    headline: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    summary: Mapping[str, str] = field(default_factory=dict)
    course: Course = field(default_factory=Course)
    intervals: Mapping[str, Intervals] = field(default_factory=dict)
    confidence: float = 0.95
    map: EmbeddingMap | None = None
    examples: Sequence[ExampleSearches] = ()
    data: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    modules: str = ""
    notes: Sequence[str] = ()
