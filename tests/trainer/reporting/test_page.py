"""report.html: what it holds, that it asks for nothing else, and that data are never markup."""

import io
import math
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from embedtune_trainer.reporting.history import Course, Measurement, TrainingPoint
from embedtune_trainer.reporting.html import render
from embedtune_trainer.reporting.html.charts import smoothed
from embedtune_trainer.reporting.html.markup import Scale, number
from embedtune_trainer.reporting.html.scatter import coloured
from embedtune_trainer.reporting.record import (
    EmbeddingMap,
    ExampleSearches,
    Intervals,
    Projection,
    RunRecord,
)

EVIL = "</script><script>alert('x')</script><img src=http://example.com/x>&\"'"
VOID = {"meta", "input", "img"}


@dataclass(frozen=True)
class AHit:
    row: int
    text: str | None
    score: float
    relevant: bool


@dataclass(frozen=True)
class AnExample:
    query_row: int
    query_text: str | None
    label: str | None
    before: list[AHit]
    after: list[AHit]


class Outline(HTMLParser):
    """Headings, counts of elements, and every attribute; fails on elements that do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.counts: dict[str, int] = {}
        self.attributes: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def record(words: str = "a word", ways: tuple[str, ...] = ("",)) -> RunRecord:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(stream, "JPEG")
    places_N2 = np.random.default_rng(0).normal(size=(12, 2))
    projections = tuple(Projection(name, places_N2, -places_N2, words) for name in ("t-SNE", "PCA"))
    points = tuple(TrainingPoint(i, 1, 1 / i, 8, 0.5, 0.1, i / 2) for i in range(1, 61))
    measured = tuple(Measurement(20 * i, i, {"map": 0.2 + i / 10, words: 0.5}) for i in range(4))
    hits = [AHit(3, words, 0.9, True), AHit(4, None, 0.8, False)]
    return RunRecord(
        name=words,
        headline="map",
        before={"map": 0.2, words: 0.5},
        after={"map": 0.5, words: 0.4},
        summary={words: words},
        course=Course(points, measured),
        intervals={"map": Intervals((0.15, 0.25), (0.45, 0.55), (0.2, 0.4))},
        map=EmbeddingMap((words,) * 12, (words,) * 12, ((0, 6),), projections, 100),
        examples=[
            ExampleSearches(
                way, [AnExample(0, words, words, hits, hits)], hit_images={4: stream.getvalue()}
            )
            for way in ways
        ],
        data=[{"rows": 1234, "skipped": 0, "loss": words, "skipped_first": [words]}],
        settings={"spec": {words: words}},
        modules=words,
        notes=[words],
    )


def test_the_page_has_every_section() -> None:
    page = render(record())
    outline = Outline(page)
    assert outline.headings == [
        "Metrics",
        "Training",
        "Map of the embeddings",
        "Examples",
        "Data",
        "Settings",
    ]
    # two maps of each projection, 12 points each; a mark before and after for both metrics; 8 dots
    # of the two metrics that were measured four times
    assert outline.counts["circle"] == 4 * 12 + 4 + 8
    assert outline.counts["svg"] == 1 + 3 + 4
    assert outline.counts["img"] == 2
    assert outline.counts["details"] == 2
    for words in ("0.2000", "0.5000", "+0.3000", "95%", "0.4500 to 0.5500", "12 of 100", "1,234"):
        assert words in page
    assert "skipped</th>" not in page


def test_both_ways_to_search_have_a_section() -> None:
    outline = Outline(render(record(ways=("text to image", "image to text"))))
    shown = [heading for heading in outline.headings if heading.startswith("Examples")]
    assert shown == ["Examples, text to image", "Examples, image to text"]
    assert outline.counts["img"] == 4


def test_it_asks_for_nothing_and_runs_nothing() -> None:
    page = render(record(EVIL))
    outline = Outline(page)
    assert "script" not in outline.counts
    assert outline.counts["img"] == 2
    asked = [v for k, v in outline.attributes if k in ("src", "href", "xlink:href", "style")]
    assert asked
    assert all(value.startswith("data:image/jpeg;base64,") for value in asked)
    assert not any(name.startswith("on") for name, _ in outline.attributes)
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]


def test_the_same_record_gives_the_same_page() -> None:
    assert render(record()) == render(record())
    assert render(record()) != render(record("another"))


def test_what_is_not_known_has_no_section() -> None:
    bare = RunRecord("bare", "map", {"map": 0.0}, {"map": 0.0})
    assert Outline(render(bare)).headings == ["Metrics"]


@pytest.mark.parametrize("loss", [0.0, math.nan, math.inf, 1e30, 1e-30])
def test_any_loss_can_be_drawn(loss: float) -> None:
    points = tuple(TrainingPoint(i, 1, loss, 8, 0.0, 0.0, 0.0) for i in range(1, 4))
    page = render(replace(record(), course=Course(points)))
    assert "Training" in Outline(page).headings
    paths = re.findall(r' d="([^"]*)"', page)
    assert not any("nan" in path or "inf" in path for path in paths)


def test_a_scale_has_round_ticks_within() -> None:
    assert Scale(0.0, 1.0, 0, 100).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert Scale(3.0, 1207.0, 0, 1).ticks() == [250, 500, 750, 1000]
    assert Scale(0.0, 1.0, 100, 0)(0.25) == 75
    assert [number(v) for v in (0, 0.25, 1234567, 2e-5, 1500)] == [
        *("0", "0.25", "1.23e+06", "2e-05", "1,500")
    ]


def test_smoothing_is_the_mean_of_the_neighbours() -> None:
    values = [float(i % 2) for i in range(200)]
    assert smoothed(values)[100] == pytest.approx(sum(values[95:106]) / 11)
    assert smoothed(values)[0] == values[0]
    assert smoothed([1.0, math.nan]) == [1.0, pytest.approx(math.nan, nan_ok=True)]


def test_the_largest_groups_have_colours() -> None:
    groups = [f"g{i}" for i in range(10) for _ in range(i + 1)]
    assert coloured(groups) == {f"g{9 - i}": i for i in range(7)}
    assert len(coloured([f"g{i}" for i in range(8)])) == 8
