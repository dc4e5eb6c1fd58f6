"""A run on several sets of rows from end to end, and `embedtune data check` of its job."""

import csv
import json
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.artifact import verify
from embedtune_trainer.cli import main
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.progress import FanOut
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from tests.trainer import tiny


def write_pairs(path: Path) -> Path:
    """Pairs of texts of one class, and the texts of the labelled rows among them."""
    rows = zip(tiny.rows(80, seed=0), tiny.rows(80, seed=5), strict=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("anchor", "positive"))
        writer.writerows((left, right) for (left, _), (right, _) in rows)
    return path


@pytest.fixture
def mixed(tiny_backbone: Path, tmp_path: Path) -> dict[str, Any]:
    labelled = tiny.write_csv(tmp_path / "labelled.csv", tiny.rows(160))
    pairs = write_pairs(tmp_path / "pairs.csv")
    mix = [
        {"uri": f"file://{labelled}", "weight": 3},
        {"uri": f"file://{pairs}", "weight": 1},
    ]
    return tiny.job(
        f"file://{tiny_backbone}",
        "",
        f"file://{tmp_path}/out",
        data={"mix": mix},
        objective={"hardNegatives": {"perRow": 1, "margin": 0}},
        training={"epochs": 2, "batchSize": 16, "learningRate": 1e-3},
    )


def ran(job: dict[str, Any], work: Path) -> Any:
    store = open_storage(StorageSpec(), Event(), RetryPolicy())
    return run(FineTuneJob.parse(job), store, work, FanOut(()), lambda: False)


def test_a_mixed_run(mixed: dict[str, Any], tmp_path: Path) -> None:
    result = ran(mixed, tmp_path / "work")
    out = tmp_path / "out/default/tiny/local"
    verify(out)
    headline = result.metrics.headline
    assert float(headline.after) > float(headline.before)
    card = (out / "README.md").read_text()
    assert "labelled.csv (" in card
    assert "pairs.csv (" in card
    assert "TripletMarginLoss, MultipleNegativesRankingLoss" in card
    report = json.loads((out / "training.json").read_text())["report"]
    first, second = report["data"]
    assert (first["place"], second["place"]) == ("spec.data.mix[0]", "spec.data.mix[1]")
    assert first["rows"] + first["set_aside"] == 160
    assert first["set_aside"] > 0
    # The pairs hold texts of the labelled rows, so some of them are held out, too.
    assert second["rows"] + second["set_aside"] == 80
    assert second["set_aside"] > 0
    assert (first["share"], second["share"]) == (0.75, 0.25)
    assert second["hard_negatives_per_row"] > 0
    assert report["steps"] == 2 * (first["batches"] + second["batches"])
    again = ran(mixed, tmp_path / "again")
    assert again.model.digest == result.model.digest


def test_a_loss_that_does_not_suit_an_entry_ends_it_early(
    mixed: dict[str, Any], tmp_path: Path
) -> None:
    mixed["spec"]["objective"] = {"loss": "TripletMarginLoss"}
    with pytest.raises(BadSpec, match=r"^spec\.data\.mix\[1\]: its rows are pairs"):
        ran(mixed, tmp_path / "work")


def test_data_check_of_a_job_shows_every_entry(
    mixed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = tiny.write_csv(tmp_path / "test.csv", tiny.rows(24, seed=9))
    mixed["spec"]["data"]["evaluation"] = {"uri": f"file://{held_out}"}
    job = str(tiny.write_job(tmp_path / "job.yaml", mixed))
    assert main(["data", "check", job]) == 0
    out = capsys.readouterr().out
    places = [line for line in out.splitlines() if line.startswith("spec.data.")]
    assert places == [
        f"spec.data.mix[0]: file://{tmp_path}/labelled.csv",
        f"spec.data.mix[1]: file://{tmp_path}/pairs.csv",
        f"spec.data.evaluation: file://{held_out}",
    ]
    assert "layout      labelled" in out
    assert "layout      pairs" in out
    assert main(["data", "check", job, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [told[p]["rows"] for p in ("spec.data.mix[0]", "spec.data.mix[1]")] == [160, 80]
    tiny.write_csv(tmp_path / "labelled.csv", [("a", "x"), ("b", "x")])
    assert main(["data", "check", job]) == 65
    assert "only one class" in capsys.readouterr().err
