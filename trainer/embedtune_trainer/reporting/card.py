"""README.md: what the model is, what it was made of and how, how good it is, how to use it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from embedtune_api.contract import MANIFEST
from embedtune_api.job import FineTuneJob
from embedtune_api.status import Metrics
from embedtune_trainer.progress import clock_time
from embedtune_trainer.reporting.record import Intervals
from embedtune_trainer.usage import Kind, using

NOT_STATED: Final = "not stated"
_TAGS: Final = """library_name: embedtune
tags: [feature-extraction, embedtune]"""
_ST_TAGS: Final = """library_name: sentence-transformers
pipeline_tag: {}
tags: [sentence-transformers, feature-extraction, sentence-similarity, embedtune]"""
"""The card's metadata, if sentence-transformers reads the model."""
_TASKS: Final = {
    "text": "sentence-similarity",
    "image": "image-feature-extraction",
    "pair": "feature-extraction",
}
"""The hub's name of what such a model is for."""

_SETTINGS: Final = (
    "epochs",
    "batchSize",
    "learningRate",
    "optimizer",
    "scheduler",
    "warmupRatio",
    "seed",
)
"""Of spec.training; training.json has all."""


@dataclass(frozen=True)
class CardFacts:
    """What the card says besides the job and its metrics.

    Attributes:
        licences: of the backbones by URI; None where its card states none.
        intervals: by metric.
        confidence: of the intervals, from 0 to 1.
        hardware: what it was trained on, name and words.
        seconds: of the training.
        rows: trained on, each set's by its URI.
    """

    licences: Mapping[str, str | None] = field(default_factory=dict)
    intervals: Mapping[str, Intervals] = field(default_factory=dict)
    confidence: float = 0.95
    hardware: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    rows: Mapping[str, int] = field(default_factory=dict)


def model_card(
    job: FineTuneJob,
    metrics: Metrics,
    objective: str,
    embedding_dim: int,
    kind: Kind,
    facts: CardFacts,
) -> str:
    """The card.

    Args:
        job: as it ran.
        metrics: before and after.
        objective: what it was trained with.
        embedding_dim: D.
        kind: which library loads it.
        facts: all else.
    """
    spec = job.spec
    headline = metrics.headline
    about = {
        "base model": ", ".join(spec.model.backbones),
        "licence of the base model": _licences(job, facts),
        "dimensions": str(embedding_dim),
        "job": f"{job.metadata.namespace}/{job.metadata.name} ({job.metadata.uid})",
        "training data": ", ".join(_counted(data.uri, facts) for _, data in spec.data.entries),
        "measured on": _measured_on(job),
        "objective": objective,
        "training": _settings(job),
        **facts.hardware,
    }
    if facts.seconds is not None:
        about["training took"] = clock_time(facts.seconds)
    return f"""---
{_front_matter(job, kind, facts)}
---

# {job.metadata.name}

An embedding model of {embedding_dim} dimensions, fine-tuned by embedtune: {headline.name} went from
{headline.before} to {headline.after}.

{_table(("", ""), about.items())}

## Use it

```python
{using("path/to/this/folder", kind)}
```

## How good it is

{_metrics(metrics, facts)}

## How it was made

report/report.html has the course of the training, a map of the embeddings and examples;
training.json the whole job, versions and what the training gave; {MANIFEST} the sha256 of
every file that the model consists of.
"""


def _front_matter(job: FineTuneJob, kind: Kind, facts: CardFacts) -> str:
    lines = [_ST_TAGS.format(_TASKS[kind.items]) if kind.plain else _TAGS]
    hub = [
        uri.removeprefix("hf://").partition("@")[0]
        for uri in job.spec.model.backbones
        if uri.startswith("hf://")
    ]
    if hub:
        lines.append(f"base_model: {json.dumps(hub)}")
    stated = set(facts.licences.values()) - {None}
    if len(stated) == 1:
        lines.append(f"license: {json.dumps(stated.pop())}")
    return "\n".join(lines)


def _licences(job: FineTuneJob, facts: CardFacts) -> str:
    backbones = job.spec.model.backbones
    each = [facts.licences.get(uri) or NOT_STATED for uri in backbones]
    if len(set(each)) == 1:
        return each[0]
    return ", ".join(f"{uri}: {one}" for uri, one in zip(backbones, each, strict=True))


def _counted(uri: str, facts: CardFacts) -> str:
    count = facts.rows.get(uri)
    return uri if count is None else f"{uri} ({count:,} rows)"


def _measured_on(job: FineTuneJob) -> str:
    evaluation = job.spec.data.evaluation
    if evaluation.queries and evaluation.index:
        return f"queries {evaluation.queries.uri}, searched in {evaluation.index.uri}"
    return evaluation.uri or "rows held out of the training data"


def _settings(job: FineTuneJob) -> str:
    """What of the optimisation is asked for first, in one line, as the spec has it."""
    told = job.spec.training.to_dict()
    return ", ".join(f"{name} {_word(told[name])}" for name in _SETTINGS if name in told)


def _word(value: Any) -> str:  # noqa: ANN401  from JSON
    return f"{value:g}" if isinstance(value, float) else str(value)


def _metrics(metrics: Metrics, facts: CardFacts) -> str:
    rows = [
        (name, *_sides(before, metrics.after.get(name, ""), facts.intervals.get(name)))
        for name, before in sorted(
            metrics.before.items(), key=lambda entry: entry[0] != metrics.headline.name
        )
    ]
    table = _table(("metric", "before", "after", "change"), rows)
    if facts.intervals:
        table += f"\n\nIn brackets {facts.confidence:.0%} confidence intervals, by bootstrap."
    return table


def _sides(before: str, after: str, found: Intervals | None) -> tuple[str, str, str]:
    """Before, after and the change, each with its interval if there is one."""
    change = f"{float(after) - float(before):+.4f}" if after else ""
    if found is None:
        return before, after, change
    return (
        before + _bounds(*found.before),
        after + _bounds(*found.after),
        change + _bounds(*found.change, sign="+"),
    )


def _bounds(low: float, high: float, sign: str = "") -> str:
    return f" [{low:{sign}.4f}, {high:{sign}.4f}]"


def _table(head: tuple[str, ...], rows: Any) -> str:  # noqa: ANN401  tuples of as many strings
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")
