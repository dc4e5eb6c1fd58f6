"""What lies in report/: lines that parse, and events that TensorBoard itself reads."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from embedtune_trainer.reporting.files import write_report
from embedtune_trainer.reporting.history import Course, Measurement, TrainingPoint
from embedtune_trainer.reporting.licence import licence_of
from embedtune_trainer.reporting.record import RunRecord

COURSE = Course(
    tuple(
        TrainingPoint(i, 1, 1 / i, 8, 0.5, 0.1, i / 2, extra={"learning_rate": i / 10})
        for i in (1, 2, 3)
    ),
    (Measurement(0, 0, {"map": 0.25}), Measurement(3, 1, {"map": 0.5})),
)


def test_the_report_s_folder(tmp_path: Path) -> None:
    record = RunRecord("name", "map", {"map": 0.25}, {"map": 0.5}, course=COURSE)
    write_report(record, tmp_path / "report", ended_at=1000.0)
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert found == [
        "report/metrics.jsonl",
        "report/report.html",
        "report/tensorboard/events.out.tfevents.0.embedtune",
    ]
    lines = (tmp_path / "report/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3, 3]
    events = EventAccumulator(str(tmp_path / "report/tensorboard"))
    events.Reload()

    def told(tag: str) -> list[tuple[float, int, float]]:
        return [(e.wall_time, e.step, round(e.value, 6)) for e in events.Scalars(tag)]

    assert told("train/loss") == [(999.0, 1, 1.0), (999.5, 2, 0.5), (1000.0, 3, 0.333333)]
    assert [value for *_, value in told("train/learning_rate")] == [0.1, 0.2, 0.3]
    assert told("evaluation/map") == [(998.5, 0, 0.25), (1000.0, 3, 0.5)]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# x", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: gemma\n---\n", "gemma"),
        ("---\nlicense: other\nlicense_link: LICENSE\n---\n", "LICENSE"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\ntags: [a]\n---\nlicense: mit", None),
        ("---\nlicense: mit\n", None),
        ("---\nlicense: {\n---\n", None),
        ("license: mit", None),
        ("", None),
    ],
)
def test_the_licence_is_what_the_card_states(
    card: str, licence: str | None, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence
    assert licence_of(tmp_path / "none") is None
    assert licence_of(None) is None
