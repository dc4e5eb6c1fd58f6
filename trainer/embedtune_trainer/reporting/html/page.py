"""The page: its sections one below the other, its style within it."""

from html import escape
from importlib.resources import files

from embedtune_trainer.reporting.html import sections
from embedtune_trainer.reporting.html.examples import examples
from embedtune_trainer.reporting.record import RunRecord

# No script runs, and nothing is fetched: what the data say can do no harm.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(record: RunRecord) -> str:
    """report.html. The same record gives the same page.

    Args:
        record: the run; all that it holds is text to the page, never markup.
    """
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    body = "\n".join(
        part
        for part in (
            sections.head(record),
            sections.metrics(record),
            sections.training(record),
            sections.embedding_map(record),
            examples(record),
            sections.data(record),
            sections.folded(record),
        )
        if part
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(record.name)} - embedtune</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
