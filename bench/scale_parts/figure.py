"""The picture of docs/scale.md: how each system's cost grows with the number of resident jobs.

Without matplotlib, which nothing else here needs, the tables alone are written.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from scale_parts import tables

JsonObject = dict[str, Any]
Series = Callable[[JsonObject, JsonObject], float | None]


def _child_p99(_found: JsonObject, stage: JsonObject) -> float | None:
    value: float | None = next(iter(stage["started"].values()))["p99"]
    return value


def _ended_p99(_found: JsonObject, stage: JsonObject) -> float | None:
    value: float | None = stage["ended"]["p99"]
    return value


def _rest_calls(_found: JsonObject, stage: JsonObject) -> float:
    return tables.calls_a_minute(stage)


PANELS: tuple[tuple[str, str, Series], ...] = (
    ("apply to first child, p99, s", "churn", _child_p99),
    ("finish to status, p99, s", "churn", _ended_p99),
    ("memory at rest, MiB", "rest", tables.own_mib),
    ("CPU a job, ms", "churn", tables.cpu_ms_a_job),
    ("calls a job", "churn", lambda _found, stage: tables.calls_a_job(stage)),
    ("calls a minute at rest", "rest", _rest_calls),
)
"""Title, the stages it is of, and the value."""
FARTHEST: Final = 20.0
"""Times the least value, from which on an axis is logarithmic."""


def _grew(found: JsonObject) -> bool:
    """Whether a system was left alone with no jobs, and then with many."""
    return len({stage["resident"] for stage in found["stages"] if stage["kind"] == "rest"}) > 1


def draw(kept: dict[str, JsonObject], path: Path) -> bool:
    """Write the picture; False, and why on stderr, if it cannot be drawn."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no picture: python -m pip install matplotlib", file=sys.stderr)
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    picture, axes = plt.subplots(2, 3, figsize=(13, 7), sharex=True, layout="constrained")
    grown = {name: found for name, found in kept.items() if found["users"] and _grew(found)}
    for axis, (title, kind, value) in zip(axes.flat, PANELS, strict=True):
        values = []
        for name, found in grown.items():
            points = [
                (stage["resident"], value(found, stage))
                for stage in found["stages"]
                if stage["kind"] == kind
            ]
            seen = [(x, y) for x, y in points if y is not None]
            values += [y for _, y in seen if y > 0]
            axis.plot([x for x, _ in seen], [y for _, y in seen], marker="o", label=name)
        axis.set_title(title)
        if max(values) > FARTHEST * min(values):
            axis.set_yscale("symlog", linthresh=min(values))  # zero calls are worth showing
            axis.set_ylim(0, 2 * max(values))
        else:
            axis.set_ylim(0, 1.1 * max(values))
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("resident jobs")
    names = axes.flat[-1].get_legend_handles_labels()
    picture.legend(*names, loc="outside lower center", ncols=4, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=90)
    plt.close(picture)
    return True
