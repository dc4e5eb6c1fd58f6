"""report.html: one file that asks for nothing else, out of a RunRecord alone.

`page` puts the sections together, `charts` and `scatter` draw in SVG, `style.css` holds the looks
in light and dark.
"""

from embedtune_trainer.reporting.html.page import render

__all__ = ["render"]
