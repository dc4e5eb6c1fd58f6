"""The map of the embeddings: a point for each row, before and after in one frame each."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedtune_trainer.reporting.html.markup import Scale, element, svg, title
from embedtune_trainer.reporting.record import EmbeddingMap, Projection

SIZE: Final = 400.0
COLOURS: Final = 8
"""Groups with a colour of their own, the largest; style.css has so many."""
OTHERS: Final = "others"


def coloured(groups: Sequence[str]) -> dict[str, int]:
    """The number of each group's colour, the largest groups first; those left out share one."""
    counts = Counter(groups)
    largest = sorted(counts, key=lambda group: (-counts[group], group))
    kept = largest if len(largest) <= COLOURS else largest[: COLOURS - 1]
    return {group: i for i, group in enumerate(kept)}


def legend(groups: Sequence[str]) -> str:
    """What the colours mean, with the groups' sizes."""
    colours, counts = coloured(groups), Counter(groups)
    entries = [(f"c{colours[g]}", g, counts[g]) for g in colours]
    rest = sum(counts.values()) - sum(counts[g] for g in colours)
    if rest:
        others = len(counts) - len(colours)
        entries.append(("cx", f"{others} other classes", rest))
    items = "".join(
        f'<li><i class="{look}"></i>{escape(name)} <small>{count:,}</small></li>'
        for look, name, count in entries
    )
    return f'<ul class="legend">{items}</ul>'


def map_pair(shown: EmbeddingMap, projection: Projection) -> str:
    """The two drawings of one projection, before and after."""
    return "".join(
        f"<figure>{_drawn(shown, places_N2, side)}<figcaption>{side}</figcaption></figure>"
        for side, places_N2 in (("before", projection.before_N2), ("after", projection.after_N2))
    )


def _drawn(shown: EmbeddingMap, places_N2: NDArray[np.float64], side: str) -> str:
    """One drawing; both axes have one scale, so that distances are what they seem."""
    centre = (places_N2.max(0) + places_N2.min(0)) / 2
    half = float(np.ptp(places_N2, axis=0).max()) / 2 * 1.04 or 1.0
    x = Scale(float(centre[0]) - half, float(centre[0]) + half, 0.0, SIZE)
    y = Scale(float(centre[1]) - half, float(centre[1]) + half, SIZE, 0.0)
    at = [(x(float(a)), y(float(b))) for a, b in places_N2]
    drawn = [
        element(
            "path",
            d="".join(
                f"M{at[i][0]:.1f} {at[i][1]:.1f}L{at[j][0]:.1f} {at[j][1]:.1f}"
                for i, j in shown.links
            ),
            class_="link",
        )
    ]
    colours = coloured(shown.groups)
    # those without a colour lie below the others
    order = sorted(range(len(at)), key=lambda i: shown.groups[i] in colours)
    for i in order:
        number = colours.get(shown.groups[i])
        look = "cx" if number is None else f"c{number}"
        words = f"{shown.groups[i]}: {shown.titles[i]}" if shown.groups[i] else shown.titles[i]
        place = {"cx": round(at[i][0], 1), "cy": round(at[i][1], 1)}
        drawn.append(element("circle", title(words), **place, r=3.6, class_=look))
    return svg("".join(drawn), SIZE, SIZE, f"Map of the embeddings {side} the training")
