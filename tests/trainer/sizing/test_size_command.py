"""`embedtune size`: what it says to a person, and what it leaves for the operator."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from embedtune_api.contract import ExitCode, SizeResult
from embedtune_trainer.cli import main
from embedtune_trainer.sources.fetch import DESCRIPTION
from tests.trainer import tiny

pytestmark = pytest.mark.slow

WEIGHTS = "model.safetensors"


@pytest.fixture
def described(tiny_backbone: Path, tmp_path: Path) -> Path:
    """The tiny backbone without its weights."""
    folder = shutil.copytree(tiny_backbone, tmp_path / "base")
    (folder / WEIGHTS).unlink()
    assert {p.name for p in folder.iterdir()} & DESCRIPTION
    return folder


def written(folder: Path, base: str, train: Path, **spec: Any) -> Path:
    job = tiny.job(base, train.as_uri(), (folder / "out").as_uri(), **spec)
    return tiny.write_job(folder / "job.json", job)


def size(file: Path, *options: str) -> tuple[int, SizeResult]:
    log = file.with_name("termination-log")
    code = main(["size", str(file), "--termination-log", str(log), *options])
    return code, SizeResult.parse(json.loads(log.read_text()))


def test_a_job_is_sized_without_the_weights(
    described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = tiny.write_csv(tmp_path / "train.csv", tiny.rows())
    code, result = size(written(tmp_path, described.as_uri(), train))
    assert code == ExitCode.DONE
    found = result.resources
    assert found is not None
    assert (found.cpu, found.gpus, found.gpu_memory) == ("1", 0, None)
    assert found.reasoning[-1] == "spec.data.train: 160 rows"
    told = capsys.readouterr().out
    assert f"memory             {found.memory}\n" in told
    assert told.endswith("spec.data.train: 160 rows\n")


def test_gpus_are_asked_for_where_the_platform_has_them(described: Path, tmp_path: Path) -> None:
    train = tiny.write_csv(tmp_path / "train.csv", tiny.rows())
    file = written(tmp_path, described.as_uri(), train)
    _, result = size(file, "--gpus", "1")
    assert result.resources is not None
    assert (result.resources.gpus, result.resources.gpu_memory) == (1, "1Gi")


def test_what_the_training_would_end_with(described: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.csv"
    code, result = size(written(tmp_path, described.as_uri(), nothing))
    assert code == ExitCode.NOT_FOUND
    assert result.failure is not None
    assert result.failure.reason == "NotFound"
    assert result.failure.message.startswith("spec.data.train.uri: ")
    wrong = tiny.write_csv(tmp_path / "wrong.csv", [("a text", "")])
    code, result = size(written(tmp_path, described.as_uri(), wrong))
    assert code == ExitCode.BAD_DATA
    train = tiny.write_csv(tmp_path / "train.csv", tiny.rows())
    model = {"backbone": described.as_uri(), "freeze": ["backbone"]}
    code, result = size(written(tmp_path, described.as_uri(), train, model=model))
    assert code == ExitCode.BAD_SPEC


def test_a_backbone_of_which_nothing_can_be_said_is_for_the_training_to_judge(
    described: Path, tmp_path: Path
) -> None:
    config = json.loads((described / "config.json").read_text())
    (described / "config.json").write_text(json.dumps(config | {"model_type": "unheard-of"}))
    train = tiny.write_csv(tmp_path / "train.csv", tiny.rows())
    code, result = size(written(tmp_path, described.as_uri(), train))
    assert code == ExitCode.DONE
    assert result.resources is None
    assert result.failure is not None
    assert "unheard-of" in result.failure.message


def test_texts_that_are_read_cost_less_than_those_that_may_be_long(
    described: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedtune_trainer.sizing import sample

    train = tiny.write_csv(tmp_path / "train.csv", tiny.rows())
    training = {"batchSize": 4096, "epochs": 1}
    file = written(tmp_path, described.as_uri(), train, training=training)
    _, looked_at = size(file)
    monkeypatch.setattr(sample, "HERE", ())
    monkeypatch.setattr(sample, "FETCH_MOST", 10)
    _, unseen = size(file)
    assert looked_at.resources is not None
    assert unseen.resources is not None
    assert unseen.resources.reasoning[-1] == "spec.data.train: 0 MiB, not looked at"
    assert int(unseen.resources.memory[:-2]) > int(looked_at.resources.memory[:-2])


def test_rows_are_worked_out_of_the_files_size(described: Path, tmp_path: Path) -> None:
    train = tiny.write_csv(tmp_path / "train.csv", tiny.rows(20_000))
    _, result = size(written(tmp_path, described.as_uri(), train))
    assert result.resources is not None
    told = result.resources.reasoning[-1]
    assert told.startswith("spec.data.train: about ")
    about = int(told.split("about ")[1].split(" ")[0].replace(",", ""))
    assert 15_000 < about < 30_000
