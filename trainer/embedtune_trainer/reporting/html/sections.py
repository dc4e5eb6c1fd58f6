"""The report's sections, each HTML out of a RunRecord; empty where there is nothing to show."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import yaml

from embedtune_trainer.reporting.html.charts import Line, before_and_after, line_chart, smoothed
from embedtune_trainer.reporting.html.markup import number, section
from embedtune_trainer.reporting.html.scatter import legend, map_pair
from embedtune_trainer.reporting.record import RunRecord

SERIES: Final = 6
"""Most metrics that are drawn over time."""


def head(record: RunRecord) -> str:
    """The name, the headline metric and a few facts."""
    name = record.headline
    before, after = record.before[name], record.after[name]
    facts = "".join(
        f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>"
        for key, value in record.summary.items()
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in record.notes)
    look = "gain" if after >= before else "loss"
    between = ""
    if found := record.intervals.get(name):
        low, high = found.change
        share = f"{record.confidence:.0%}"
        between = f"<small>{share} interval of the change {low:+.4f} to {high:+.4f}</small>"
    return (
        f"<header><h1>{escape(record.name)}</h1>{notes}"
        f'<div class="headline"><span class="what">{escape(name)}</span>'
        f'<span class="was">{before:.4f}</span><span class="arrow">&rarr;</span>'
        f'<strong>{after:.4f}</strong><span class="{look} change">{after - before:+.4f}</span>'
        f'{between}</div><dl class="facts">{facts}</dl></header>'
    )


def metrics(record: RunRecord) -> str:
    """Every metric before and after, drawn and as a table."""
    names = sorted(record.before, key=lambda name: name != record.headline)
    chart = before_and_after(names, record.before, record.after, record.intervals, record.headline)
    rows = "".join(_metric_row(record, name) for name in names)
    key = (
        '<ul class="legend"><li><i class="before"></i>before</li>'
        '<li><i class="after"></i>after</li></ul>'
    )
    width = f" ({record.confidence:.0%} interval)" if record.intervals else ""
    table = (
        f"<table><thead><tr><th>metric</th><th>before{width}</th><th>after{width}</th>"
        f"<th>change</th></tr></thead><tbody>{rows}</tbody></table>"
    )
    return section(
        "Metrics",
        f'<div class="halves"><div>{key}{chart}</div><div class="scroll">{table}</div></div>',
    )


def training(record: RunRecord) -> str:
    """The loss and what else the steps tell, and metrics between the epochs."""
    points = record.course.training
    figures = []
    if len(points) > 1:
        steps = [point.step for point in points]
        losses = [point.loss for point in points]
        lines = [Line("loss", steps, losses, "raw")]
        if len(points) >= 40:
            lines.append(Line("loss, smoothed", steps, smoothed(losses), "curve"))
        else:
            lines = [Line("loss", steps, losses, "curve")]
        figures.append(_figure("Loss", line_chart(lines, "", "Loss over the steps")))
    figures += _measured(record)
    if len(points) > 1:
        rated = [point for point in points if "learning_rate" in point.extra]
        if rated:
            rates = [point.extra["learning_rate"] for point in rated]
            line = Line("learning rate", [point.step for point in rated], rates, "curve")
            figures.append(
                _figure("Learning rate", line_chart([line], "", "Learning rate", from_zero=True))
            )
        speed = Line("rows/s", steps, smoothed([p.rows_per_s for p in points]), "curve")
        figures.append(
            _figure("Rows per second", line_chart([speed], "", "Rows per second", from_zero=True))
        )
    return section("Training", f'<div class="figures">{"".join(figures)}</div>') if figures else ""


def embedding_map(record: RunRecord) -> str:
    """The embeddings in two dimensions, one projection at a time."""
    shown = record.map
    if shown is None or not shown.projections:
        return ""
    inputs, tabs = [], []
    for i, projection in enumerate(shown.projections):
        checked = " checked" if i == 0 else ""
        inputs.append(
            f'<input type="radio" name="map" id="map{i}"{checked}><label for="map{i}">'
            f"{escape(projection.name)}</label>"
        )
        note = f"<p>{escape(projection.note)}</p>" if projection.note else ""
        tabs.append(
            f'<div class="tab tab{i}"><div class="maps">{map_pair(shown, projection)}</div>'
            f"{note}</div>"
        )
    count = len(shown.titles)
    drawn = f"{count:,} of {shown.rows_in_all:,}" if count < shown.rows_in_all else f"{count:,}"
    intro = f"<p>{drawn} held-out rows; a pointer on one shows it.</p>"
    colours = legend(shown.groups) if any(shown.groups) else ""
    return section(
        "Map of the embeddings",
        f'{intro}<div class="tabs">{"".join(inputs)}{colours}{"".join(tabs)}</div>',
    )


def data(record: RunRecord) -> str:
    """What was trained on."""
    tables = "".join(_facts_table(facts) for facts in record.data)
    return section("Data", f'<div class="scroll">{tables}</div>') if tables else ""


def folded(record: RunRecord) -> str:
    """The job and the network's modules, to be opened by who wants to know."""
    settings = yaml.safe_dump(dict(record.settings), sort_keys=False, allow_unicode=True)
    parts = [("The job", settings if record.settings else ""), ("The network", record.modules)]
    shown = "".join(
        f"<details><summary>{name}</summary><pre>{escape(content)}</pre></details>"
        for name, content in parts
        if content
    )
    return section("Settings", shown) if shown else ""


def _figure(name: str, drawing: str) -> str:
    return f"<figure><figcaption>{escape(name)}</figcaption>{drawing}</figure>"


def _measured(record: RunRecord) -> list[str]:
    """Metrics over the steps, where there are more than a beginning and an end."""
    measured = record.course.measured
    others = [name for name in record.before if name != record.headline]
    names = [record.headline, *others]
    lines: list[Line] = []
    for name in names:
        having = [m for m in measured if name in m.metrics]
        if len(having) > 2 and len(lines) < SERIES:
            values = [m.metrics[name] for m in having]
            look = f"curve k{len(lines)}"
            lines.append(Line(name, [m.step for m in having], values, look, dots=True))
    if not lines:
        return []
    key = "".join(
        f'<li><i class="k{i}"></i>{escape(line.name)}</li>' for i, line in enumerate(lines)
    )
    chart = line_chart(lines, "", "Metrics over the steps")
    return [_figure("Metrics over the training", f'<ul class="legend">{key}</ul>{chart}')]


def _metric_row(record: RunRecord, name: str) -> str:
    before, after = record.before[name], record.after[name]
    cells = [f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"]
    if found := record.intervals.get(name):
        sides = (found.before, found.after, found.change)
        cells = [
            f"{cell} <small>{low:{sign}.4f} to {high:{sign}.4f}</small>"
            for cell, (low, high), sign in zip(cells, sides, ("", "", "+"), strict=True)
        ]
    look = ' class="headline-row"' if name == record.headline else ""
    looks = ("", "", "gain" if after >= before else "loss")
    inner = "".join(f'<td class="{k}">{c}</td>' for k, c in zip(looks, cells, strict=True))
    return f"<tr{look}><th>{escape(name)}</th>{inner}</tr>"


def _facts_table(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(_fact(value))}</td></tr>"
        for name, value in facts.items()
        if value not in (None, 0, "", [])  # none skipped, none set aside: nothing to say
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _fact(value: object) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return number(value) if isinstance(value, float) else f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_fact(one)}" for key, one in value.items())
    if isinstance(value, Sequence):
        return ", ".join(_fact(one) for one in value)
    return str(value)
