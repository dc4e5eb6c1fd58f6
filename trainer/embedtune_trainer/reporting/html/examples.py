"""The report's examples: queries, and what lay nearest to them before and after."""

import base64
from collections.abc import Mapping
from html import escape

from embedtune_trainer.reporting.html.markup import section
from embedtune_trainer.reporting.record import Example, ExampleSearches, Hit, RunRecord


def examples(record: RunRecord) -> str:
    """Queries with their neighbours before and after, a section for each way to search."""
    return "\n".join(
        section(
            f"Examples, {shown.way}" if shown.way else "Examples",
            "".join(_example(shown, example) for example in shown.examples),
        )
        for shown in record.examples
        if shown.examples
    )


def _example(shown: ExampleSearches, example: Example) -> str:
    label = f'<span class="label">{escape(example.label)}</span>' if example.label else ""
    query = _item(example.query_text, example.query_row, shown.query_images)
    sides = "".join(
        f"<div><h4>{side}: {sum(hit.relevant for hit in hits)} of {len(hits)} relevant</h4>"
        f"<ol>{''.join(_hit(shown, hit) for hit in hits)}</ol></div>"
        for side, hits in (("before", example.before), ("after", example.after))
    )
    return f'<article><h3>{query}{label}</h3><div class="sides">{sides}</div></article>'


def _hit(shown: ExampleSearches, hit: Hit) -> str:
    look, mark = ("right", "&#10003;") if hit.relevant else ("wrong", "&#10007;")
    said = "relevant" if hit.relevant else "not relevant"
    return (
        f'<li class="{look}"><b title="{said}">{mark}</b>'
        f"{_item(hit.text, hit.row, shown.hit_images)}<small>{hit.score:.3f}</small></li>"
    )


def _item(words: str | None, row: int, images: Mapping[int, bytes]) -> str:
    if row in images:
        data = base64.b64encode(images[row]).decode()
        alternative = escape(words or f"row {row}")
        return (
            f'<img src="data:image/jpeg;base64,{data}" alt="{alternative}" title="{alternative}">'
        )
    return f"<span>{escape(words) if words is not None else f'row {row}'}</span>"
