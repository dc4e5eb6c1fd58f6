"""The checkpoints of a job: of which rows they are, and what they record for `auto`."""

import pytest
import torch

from embedtune_api.job import FineTuneJob
from embedtune_trainer.checkpoints.open import as_recorded, open_keeper
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.progress import LogReporter
from embedtune_trainer.rows.table import LabelledRows, Texts
from embedtune_trainer.sources.storage import FileStore
from tests.trainer import tiny

CPU = torch.device("cpu")
AUTO = {"batchSize": "auto", "microBatch": "auto"}
FOUND = {"batch_size": 64, "micro_batch": 16}


def job(folder, **training):
    return FineTuneJob.parse(
        tiny.job("file:///base", "file:///train.csv", f"file://{folder}/out", training=training)
    )


def rows(*labels):
    return LabelledRows(Texts([f"text {i}" for i in range(len(labels))]), labels, "e.csv")


def keeper(folder, *measured_on, **training):
    given = job(folder, **training)
    module = torch.nn.Linear(2, 2)
    work = folder / "work"
    return open_keeper(given, FileStore(), module, [], measured_on, work, LogReporter())


def put(opened, step, found):
    opened.found = found
    opened.offer_last(step, lambda: {"step": step}, CPU)


@pytest.mark.parametrize(
    ("other", "place"),
    [
        ((rows("a", "b", "b"),), "spec.data.evaluation"),
        ((rows("a", "b"), rows("a", "c")), "spec.data.evaluation.index"),
        ((rows("a", "c"), rows("a", "b")), "spec.data.evaluation.queries"),
    ],
)
def test_one_of_other_evaluation_rows_is_refused_by_name(tmp_path, other, place):
    same = [rows("a", "b")] * len(other)
    with keeper(tmp_path, *same) as opened:
        put(opened, 5, {})
    with keeper(tmp_path, *same) as opened:
        assert opened.newest(CPU) == (5, {"step": 5})
    with (
        keeper(tmp_path, *other) as opened,
        pytest.raises(
            BadSpec, match=rf"of another run: the rows of {place} are not the same\. Put"
        ),
    ):
        opened.newest(CPU)


def test_a_retry_takes_what_was_found_for_auto(tmp_path):
    with keeper(tmp_path, rows("a", "b"), **AUTO) as opened:
        put(opened, 5, FOUND)
    for auto in (("batchSize",), ("microBatch",), ("batchSize", "microBatch")):
        fixed = {"batchSize": 8, "microBatch": 4} | dict.fromkeys(auto, "auto")
        training = as_recorded(job(tmp_path, **fixed), FileStore(), tmp_path / "read")
        assert training.batch_size == (64 if "batchSize" in auto else 8)
        assert training.micro_batch == (16 if "microBatch" in auto else 4)


def test_that_everything_fitted_is_recorded_too(tmp_path):
    with keeper(tmp_path, rows("a", "b"), **AUTO) as opened:
        put(opened, 5, {"batch_size": 64, "micro_batch": None})
    training = as_recorded(job(tmp_path, **AUTO), FileStore(), tmp_path / "read")
    assert (training.batch_size, training.micro_batch) == (64, None)


@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_a_damaged_record_is_passed_over_for_the_one_before(tmp_path, harm):
    with keeper(tmp_path, rows("a", "b"), **AUTO) as opened:
        put(opened, 5, FOUND)
        put(opened, 10, FOUND | {"batch_size": 128})
    newest = tmp_path / "out/default/tiny/local/checkpoints/0000000010/checkpoint.json"
    assert as_recorded(job(tmp_path, **AUTO), FileStore(), tmp_path).batch_size == 128
    if harm == "gone":
        newest.unlink()
    else:
        newest.write_text("{")
    assert as_recorded(job(tmp_path, **AUTO), FileStore(), tmp_path).batch_size == 64


def test_without_a_checkpoint_auto_stays_auto(tmp_path):
    given = job(tmp_path, **AUTO)
    assert as_recorded(given, FileStore(), tmp_path / "read") == given.spec.training
