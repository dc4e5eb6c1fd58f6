"""The model's folder: the same run gives the same digest, and no change goes unseen."""

import json
from pathlib import Path

import pytest

from embedtune_api.contract import MANIFEST
from embedtune_api.job import FineTuneJob
from embedtune_api.status import Headline, Metrics, ModelRef
from embedtune_trainer.artifact import ForPeople, load_manifest, stage, verify
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.reporting.card import CardFacts, model_card
from embedtune_trainer.reporting.record import Intervals
from embedtune_trainer.usage import PLAIN_TEXT

JOB = FineTuneJob.parse(
    {
        "metadata": {"name": "trec", "namespace": "team-a", "uid": "1234"},
        "spec": {
            "model": {"backbone": "s3://bases/mini"},
            "data": {"train": {"uri": "s3://data/train.csv"}},
            "output": {"uri": "s3://models/tuned"},
        },
    }
)
METRICS = Metrics(
    headline=Headline(name="ndcg_at_10", before="0.5000", after="0.7500"),
    before={"ndcg_at_10": "0.5000", "map": "0.2000"},
    after={"ndcg_at_10": "0.7500", "map": "0.4000"},
)
WEIGHTS_SHA256 = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
GOLDEN_CARD = Path(__file__).parent.parent / "golden" / "model-card.md"


class Tiny:
    embedding_dim = 3

    def save(self, folder: Path) -> None:
        (folder / "modules.json").write_text("[]")
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")


@pytest.fixture
def staged(tmp_path: Path) -> tuple[Path, ModelRef]:
    folder = tmp_path / "model"
    return folder, stage(
        Tiny(), folder, JOB, METRICS, "TripletMarginLoss", {"steps": 5}, people("1")
    )


def people(word: str, table: str = "") -> ForPeople:
    """What another run's people would find otherwise."""

    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "page.html").write_text(word)

    return ForPeople(table, CardFacts(seconds=float(word), hardware={"CPU": word}), write)


def test_the_manifest_describes_every_other_file(staged: tuple[Path, ModelRef]) -> None:
    folder, model = staged
    manifest = verify(folder)
    assert set(manifest.files) == {
        "modules.json",
        "1_Pooling/config.json",
        "model.safetensors",
        "training.json",
    }
    assert manifest.reports == ("README.md", "report/digests.json", "report/page.html")
    assert model.model_dump(exclude={"digest", "size_bytes"}) == {
        "uri": "s3://models/tuned/team-a/trec/1234/",
        "embedding_dim": 3,
        "base_model": "s3://bases/mini",
    }
    assert model.size_bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    raw = json.loads((folder / MANIFEST).read_text())
    assert (
        raw["files"]["model.safetensors"]
        == {
            "sha256": "9fce9f621dc0acaebd3d8c6d0d59c6efea2fa9fcbd67d05ae5bcec1f24d8a60c",
            "size": 7,
        }
        or len(raw["files"]["model.safetensors"]["sha256"]) == 64
    )


def test_the_same_run_gives_the_same_digest(staged: tuple[Path, ModelRef], tmp_path: Path) -> None:
    """However long it took, and wherever it ran."""
    arguments = (JOB, METRICS, "TripletMarginLoss")
    again = stage(Tiny(), tmp_path / "again", *arguments, {"steps": 5}, people("2"))
    other = stage(Tiny(), tmp_path / "other", *arguments, {"steps": 6}, people("1"))
    assert staged[1].digest == again.digest != other.digest
    cards = [(folder / "README.md").read_text() for folder in (staged[0], tmp_path / "again")]
    assert cards[0] != cards[1]


def test_training_json_has_what_made_it(staged: tuple[Path, ModelRef]) -> None:
    training = json.loads((staged[0] / "training.json").read_text())
    assert FineTuneJob.parse(training["job"]) == JOB
    assert training["metrics"]["headline"]["after"] == "0.7500"
    assert training["report"] == {"steps": 5}
    assert {"embedtune", "torch"} <= training["versions"].keys()


def test_the_card_is_the_golden_one() -> None:
    facts = CardFacts(
        licences={"s3://bases/mini": "apache-2.0"},
        intervals={"map": Intervals((0.15, 0.25), (0.35, 0.45), (0.12, 0.28))},
        hardware={"CPU": "Some CPU, 2 of 2 threads"},
        seconds=75.0,
        rows={"s3://data/train.csv": 1234},
    )
    card = model_card(JOB, METRICS, "TripletMarginLoss", 3, PLAIN_TEXT, facts)
    assert card == GOLDEN_CARD.read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"weightz"), "is not what the manifest"),
        (lambda f: (f / "training.json").unlink(), "training.json is missing"),
        (lambda f: (f / "more").touch(), "more is not in the manifest"),
        (lambda f: (f / "README.md").write_text("x"), "README.md is not what the manifest"),
        (lambda f: (f / "report/page.html").unlink(), "report/page.html is missing"),
        (lambda f: (f / "report/page.html").write_text("3"), "page.html is not what the man"),
        (lambda f: (f / "report/more").touch(), "report/more is not in the manifest"),
        (lambda f: (f / "report/digests.json").write_text("{}"), "not a list of digests"),
        (lambda f: (f / "report/digests.json").unlink(), "digests.json is missing"),
        (lambda f: (f / MANIFEST).unlink(), r"no manifest.json, so this is no finished model"),
        (lambda f: (f / MANIFEST).write_text("{}"), "not a manifest"),
    ],
)
def test_no_change_goes_unseen(change, words: str, staged: tuple[Path, ModelRef]) -> None:  # type: ignore[no-untyped-def]
    change(staged[0])
    with pytest.raises(UnsupportedModel, match=words):
        verify(staged[0])


def test_a_manifest_of_a_later_version_is_refused(staged: tuple[Path, ModelRef]) -> None:
    raw = json.loads((staged[0] / MANIFEST).read_text()) | {"version": 2}
    (staged[0] / MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(UnsupportedModel, match="not a manifest"):
        load_manifest(staged[0])


def test_the_card_says_how_another_layout_is_loaded(tmp_path: Path) -> None:
    class Other:
        embedding_dim = 3

        def save(self, folder: Path) -> None:
            (folder / "model.safetensors").write_bytes(b"weights")
            (folder / "embedtune.json").write_text('{"modality": "text"}')

    stage(Other(), tmp_path / "m", JOB, METRICS, "TripletMarginLoss", {}, people("1", "conv1\nfc"))
    card = (tmp_path / "m" / "README.md").read_text()
    assert 'model = open_model("path/to/this/folder")' in card
    assert (tmp_path / "m" / "model.txt").read_text() == "conv1\nfc\n"
    assert "sentence" not in card.partition("## How good")[0]
