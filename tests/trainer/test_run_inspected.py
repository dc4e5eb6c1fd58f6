"""A run's log and its model say what was trained, as `embedtune inspect` does before."""

import json
import logging
from pathlib import Path
from threading import Event

from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer import inspection, train
from embedtune_trainer.artifact import verify
from embedtune_trainer.cli import main
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.progress import LogReporter
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from tests.trainer import tiny

HEAD = (
    "encoder backbone={uri} head=none head_found_by='none is left out' feature='last_hidden_state,"
)


def trained(base, tmp_path):
    """The model's folder, and the job's file."""
    rows = tiny.write_csv(tmp_path / "train.csv", tiny.rows(64))
    model = {"backbone": base.as_uri(), "freeze": ["embeddings"], "projection": {"dim": 8}}
    job = tiny.job(base.as_uri(), rows.as_uri(), f"file://{tmp_path}/out", model=model)
    file = tiny.write_job(tmp_path / "job.yaml", job)
    store = open_storage(StorageSpec(), Event(), RetryPolicy())
    work_dir = tmp_path / "work"
    train.run(FineTuneJob.parse(job), store, work_dir, LogReporter(), lambda: False)
    return work_dir / "model", file


def test_it_is_in_the_log_and_in_the_model(tiny_backbone, tmp_path, caplog, capsys):
    caplog.set_level(logging.INFO, "embedtune")
    folder, file = trained(tiny_backbone, tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("encoder ") for line in lines) == 2
    assert any(line.startswith(HEAD.format(uri=tiny_backbone.as_uri())) for line in lines)
    told = json.loads((folder / "training.json").read_text())["report"]["model"]["encoder"]
    assert (told["embedding_dim"], told["layers"]) == (8, "Dense 32 to 8, Normalize")
    assert told["frozen"] + told["trained"] == told["parameters"]
    assert any(f"trained={told['trained']} frozen={told['frozen']}" in line for line in lines)
    assert main(["inspect", str(file)]) == 0
    assert (folder / "model.txt").read_text() == capsys.readouterr().out
    assert "model.txt" in verify(folder).files


def test_a_network_that_cannot_be_followed_is_trained_all_the_same(
    tiny_backbone, tmp_path, caplog, monkeypatch
):
    def refuse(*_):
        raise UnsupportedModel("cannot be followed without its weights")

    monkeypatch.setattr(inspection, "inspect_model", refuse)
    caplog.set_level(logging.INFO, "embedtune")
    folder, _ = trained(tiny_backbone, tmp_path)
    assert "why='cannot be followed without its weights'" in caplog.text
    assert not (folder / "model.txt").exists()
    assert Path(folder / "manifest.json").exists()
