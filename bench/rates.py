"""Rows a second of systems that take turns: one pass each, and the table of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """One pass through one data set."""

    data: str
    system: str
    epoch: int
    rows: int
    seconds: float


def table(outcomes: Iterable[Outcome], unit: str) -> str:
    """Medians as Markdown, with the least and the greatest; `unit` is what a row is."""
    lines = [f"| data | {unit} | system | epoch | {unit}/s |", "|---|---|---|---|---|"]
    found: dict[tuple[str, int, str, int], list[float]] = {}
    for o in outcomes:
        found.setdefault((o.data, o.rows, o.system, o.epoch), []).append(o.rows / o.seconds)
    for (data, rows, system, epoch), rates in sorted(found.items(), key=lambda item: item[0]):
        lines.append(
            f"| {data} | {rows:,} | {system} | {epoch} | {np.median(rates):,.0f}"
            f" ({min(rates):,.0f} to {max(rates):,.0f}) |"
        )
    return "\n".join(lines)
