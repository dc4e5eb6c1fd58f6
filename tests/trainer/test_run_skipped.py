"""What onBadRow: skip leaves out is in the artifact's report."""

import json
from pathlib import Path
from threading import Event

from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Storage
from embedtune_trainer.artifact import TRAINING
from embedtune_trainer.progress import FanOut
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from tests.trainer import tiny


def test_skipped_rows_are_counted_and_listed(tiny_backbone: Path, tmp_path: Path) -> None:
    rows = tiny.rows(160)
    train = tiny.write_csv(tmp_path / "train.csv", [*rows[:100], (" ", "x"), *rows[100:]])
    job = tiny.job(
        tiny_backbone.as_uri(),
        train.as_uri(),
        (tmp_path / "out").as_uri(),
        data={"train": {"uri": train.as_uri(), "onBadRow": "skip"}, "evaluation": {"split": 0.2}},
        training={"epochs": 1, "batchSize": 32},
    )
    store = open_storage(Storage(), Event(), RetryPolicy())
    run(FineTuneJob.parse(job), store, tmp_path / "work", FanOut(()), lambda: False)
    (report,) = (tmp_path / "out").rglob(TRAINING)
    (told,) = json.loads(report.read_text())["report"]["data"]
    assert (told["rows"], told["skipped"]) == (128, 1)
    assert told["skipped_first"] == [
        "row 102, column text: the cell is blank, the row holds ' ', 'x'; fill it or remove the row"
    ]
