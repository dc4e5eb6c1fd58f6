"""Charts of a run: lines over its steps, and each metric before and after."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedtune_trainer.reporting.html.markup import Scale, element, number, svg, text, title
from embedtune_trainer.reporting.record import Bounds, Intervals

WIDTH, HEIGHT = 640.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 16.0, 14.0, 38.0
SMOOTHED_OVER = 0.05
"""Share of a curve that its smoothed form averages over."""


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: for the legend and the pointer.
        steps: x of each point.
        values: y of each.
        look: its CSS class.
        dots: whether its points are marked, each with its value for the pointer.
    """

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    look: str
    dots: bool = False


def line_chart(lines: Sequence[Line], y_name: str, label: str, from_zero: bool = False) -> str:
    """Curves over the steps, with a grid; values that are no numbers leave gaps."""
    x = Scale(
        min(line.steps[0] for line in lines),
        max(line.steps[-1] for line in lines),
        LEFT,
        WIDTH - RIGHT,
    )
    values = [value for line in lines for value in line.values] + ([0.0] if from_zero else [])
    y = Scale.around(values, HEIGHT - BOTTOM, TOP)
    if from_zero and min(values) >= 0:
        y = Scale(0.0, y.high, HEIGHT - BOTTOM, TOP)
    drawn = [_grid(x, y, y_name)]
    for line in lines:
        drawn.append(element("path", title(line.name), d=_path(line, x, y), class_=line.look))
        if line.dots:
            drawn += [
                element(
                    "circle",
                    title(f"{line.name} {number(value)}, step {step:,}"),
                    cx=x(step),
                    cy=y(value),
                    r=4.0,
                    class_=f"{line.look} dot",
                )
                for step, value in zip(line.steps, line.values, strict=True)
                if math.isfinite(value)
            ]
    return svg("".join(drawn), WIDTH, HEIGHT, label)


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value's neighbourhood, narrower at the ends; numbers alone count."""
    reach = int(len(values) * SMOOTHED_OVER / 2)
    out = []
    for i in range(len(values)):
        near = min(reach, i, len(values) - 1 - i)
        finite = [v for v in values[i - near : i + near + 1] if math.isfinite(v)]
        out.append(sum(finite) / len(finite) if finite else math.nan)
    return out


def before_and_after(
    names: Sequence[str],
    before: Mapping[str, float],
    after: Mapping[str, float],
    intervals: Mapping[str, Intervals],
    headline: str,
) -> str:
    """A line for each metric from its value before to that after; whiskers are the intervals."""
    # beside the table, whose rows are higher where they hold intervals
    row, left = 42.0 if intervals else 30.0, 178.0
    height = TOP + row * len(names) + BOTTOM
    shown = [*before.values(), *after.values()]
    for name in names:
        if found := intervals.get(name):
            shown += [*found.before, *found.after]
    low = min(0.0, *shown)
    x = Scale(low, max(1.0 if low == 0 else 0.0, *shown), left, WIDTH - RIGHT - 8)
    drawn = [_columns(x, height)]
    for i, name in enumerate(names):
        y = TOP + row * (i + 0.5)
        a, b = before[name], after[name]
        look = "name headline" if name == headline else "name"
        drawn.append(text(name, left - 14, y + 4, class_=look, text_anchor="end"))
        change = "gain" if b >= a else "loss"
        drawn.append(element("line", x1=x(a), x2=x(b), y1=y, y2=y, class_=f"bridge {change}"))
        found = intervals.get(name)
        drawn.append(_mark(f"{name} before", "before", a, found.before if found else None, x, y))
        drawn.append(_mark(f"{name} after", "after", b, found.after if found else None, x, y))
    return svg("".join(drawn), WIDTH, height, "Every metric before and after the training")


def _mark(name: str, side: str, value: float, bounds: Bounds | None, x: Scale, y: float) -> str:
    words = f"{name}: {value:.4f}"
    whisker = ""
    if bounds is not None:
        low, high = bounds
        words += f" ({low:.4f} to {high:.4f})"
        # the two sides' whiskers lie beside each other, so that one does not hide the other
        at = y + (6.5 if side == "before" else -6.5)
        whisker = element("line", x1=x(low), x2=x(high), y1=at, y2=at, class_=f"whisker {side}")
    dot = element("circle", cx=x(value), cy=y, r=5.5, class_=f"mark {side}")
    return element("g", title(words) + whisker + dot)


def _grid(x: Scale, y: Scale, y_name: str) -> str:
    drawn = []
    for value in y.ticks(4):
        at = y(value)
        drawn.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid"))
        drawn.append(text(number(value), LEFT - 8, at + 4, class_="tick", text_anchor="end"))
    for value in x.ticks(6):
        if value == int(value):
            place = HEIGHT - BOTTOM + 17
            drawn.append(text(number(value), x(value), place, class_="tick", text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(text("step", middle, HEIGHT - 4, class_="axis", text_anchor="middle"))
    drawn.append(text(y_name, 0, 10, class_="axis"))
    return "".join(drawn)


def _columns(x: Scale, height: float) -> str:
    drawn = []
    for value in x.ticks(5):
        at, end = x(value), height - BOTTOM
        drawn.append(element("line", x1=at, x2=at, y1=TOP, y2=end, class_="grid"))
        drawn.append(text(number(value), at, end + 17, class_="tick", text_anchor="middle"))
    return "".join(drawn)


def _path(line: Line, x: Scale, y: Scale) -> str:
    words, pen = [], "M"
    for step, value in zip(line.steps, line.values, strict=True):
        if math.isfinite(value):
            words.append(f"{pen}{x(step):.1f} {y(value):.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(words)
