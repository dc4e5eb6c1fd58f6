"""What of the report goes into the model's folder."""

from pathlib import Path
from typing import Final

from embedtune_trainer.reporting.events import write_events
from embedtune_trainer.reporting.html import render
from embedtune_trainer.reporting.record import RunRecord

FOLDER: Final = "report"
PAGE: Final = "report.html"
METRICS: Final = "metrics.jsonl"
TENSORBOARD: Final = "tensorboard"


def write_report(record: RunRecord, folder: Path, ended_at: float) -> None:
    """Write the page, the course as JSON lines and as TensorBoard's events.

    Args:
        record: the finished run.
        folder: the report's own, made if it is missing.
        ended_at: when the training's last step was done, seconds since 1970.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(render(record), encoding="utf-8")
    lines = "".join(f"{line}\n" for line in record.course.lines())
    (folder / METRICS).write_text(lines, encoding="utf-8")
    write_events(record.course, folder / TENSORBOARD, ended_at)
