"""Elements as text, and axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Attribute = str | int | float


def element(name: str, content: str = "", **attributes: Attribute) -> str:
    """An element; content is markup already, attributes are escaped. class_ is class."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{words}>{content}</{name}>" if content else f"<{name}{words}/>"


def text(words: str, x: float, y: float, **attributes: Attribute) -> str:
    """A line of text."""
    return element("text", escape(words), x=x, y=y, **attributes)


def title(words: str) -> str:
    """What is shown when the pointer rests on the element that this is in."""
    return element("title", escape(words))


def svg(content: str, width: float, height: float, label: str) -> str:
    """The drawing, as wide as its place; the label is for those who cannot see it."""
    return element(
        "svg",
        content,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        role="img",
        aria_label=label,
    )


def section(name: str, content: str) -> str:
    """A part of the page with its heading; content is markup already."""
    return f"<section><h2>{escape(name)}</h2>{content}</section>"


@dataclass(frozen=True)
class Scale:
    """From values to places on the drawing, linearly.

    Attributes:
        low, high: values at the two ends.
        begin, end: their places.
    """

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.begin + share * (self.end - self.begin)

    @classmethod
    def around(
        cls, values: Sequence[float], begin: float, end: float, margin: float = 0.05
    ) -> "Scale":
        """One that holds the values, with a margin as a share of their range."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        space = (high - low) * margin or abs(high) * 0.1 or 0.5
        return cls(low - space, high + space, begin, end)

    def ticks(self, wanted: int = 5) -> list[float]:
        """About so many round values within."""
        span = self.high - self.low
        rough = span / max(1, wanted)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def number(value: float) -> str:
    """A value for a label: at most four digits that count."""
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _value(value: Attribute) -> str:
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))
