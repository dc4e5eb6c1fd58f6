"""What the command line says, word for word."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from embedtune_api.contract import TrainResult
from embedtune_api.status import Headline, Metrics, ModelRef
from embedtune_trainer.cli import main
from embedtune_trainer.console import show_result
from tests.trainer import tiny

GOLDEN = Path(__file__).parent.parent / "golden"
RESULT = TrainResult(
    model=ModelRef(
        uri="file:///models/tuned/default/trec/local/",
        digest="sha256:" + "0123456789abcdef" * 4,
        size_bytes=91_567_890,
        embedding_dim=384,
        base_model="file:///models/all-MiniLM-L6-v2",
    ),
    metrics=Metrics(
        headline=Headline(name="map", before="0.2330", after="0.7530"),
        before={"precision_at_1": "0.4720", "map": "0.2330", "recall_at_10": "0.0513"},
        after={"precision_at_1": "0.8940", "map": "0.7530", "recall_at_10": "0.0502"},
    ),
    train_seconds=70.4,
)


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


COMMANDS = [
    *("", "run", "validate", "data check", "inspect"),
    *("encode", "evaluate", "pull", "remove"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_the_golden_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main([*command.split(), "--help"])
    assert raised.value.code == 0
    golden = GOLDEN / f"embedtune-{command.replace(' ', '-') or 'help'}.txt"
    assert capsys.readouterr().out == golden.read_text()


@pytest.mark.parametrize("uri", [RESULT.model and RESULT.model.uri, "s3://models/tuned/uid/"])
def test_the_result_is_the_golden_one(uri: str) -> None:
    assert RESULT.model is not None
    result = RESULT.model_copy(update={"model": RESULT.model.model_copy(update={"uri": uri})})
    screen = io.StringIO()
    show_result(Console(file=screen, width=80), result)
    assert (
        screen.getvalue() == (GOLDEN / f"embedtune-result-{uri.partition(':')[0]}.txt").read_text()
    )


def test_a_valid_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tiny.write_job(tmp_path / "job.yaml", tiny.job("s3://bases/m", "s3://d-1/t", "s3://o-1"))
    assert main(["validate", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: FineTuneJob default/tiny is valid\n"
    tiny.write_job(file, tiny.job("file:///m", "s3://d-1/t", "s3://o-1"))
    assert main(["validate", str(file)]) == 0
    assert "note: it has file:// URIs" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "validate"])
def test_an_invalid_file(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tiny.job("file:///m", "file:///t", "file:///o", training={"epochs": "two", "lr": 1})
    file = tiny.write_job(tmp_path / "job.yaml", job)
    assert main([command, str(file)]) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"embedtune: {file}:1: spec.training.epochs: Input should be a valid integer (got 'two')\n"
        f"embedtune: {file}:1: spec.training.lr: unknown field\n"
    )


def test_a_job_that_counts_on_a_runtime_s_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tiny.job("file:///m", "file:///t", "file:///o")
    job["spec"].pop("output")
    file = tiny.write_job(tmp_path / "job.yaml", job)
    assert main(["validate", str(file)]) == 0
    capsys.readouterr()
    assert main(["run", str(file)]) == 64
    assert capsys.readouterr().err == (
        "embedtune: spec.output.uri: required where no runtime gives one; with `embedtune run`, for"
        " example file:///tmp/models\n"
    )


def test_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "/none.yaml"]) == 67
    assert capsys.readouterr().err == "embedtune: /none.yaml: no such file or directory\n"


def test_an_endpoint_that_is_no_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tiny.write_job(tmp_path / "j.yaml", tiny.job("file:///m", "file:///t", "file:///o"))
    assert main(["run", str(file), "--storage-endpoint", "minio:9000"]) == 64
    assert capsys.readouterr().err.startswith("embedtune: spec.storage.endpoint: ")


def test_help_and_validation_import_nothing_heavy(tmp_path: Path) -> None:
    file = tiny.write_job(tmp_path / "job.yaml", tiny.job("file:///m", "file:///t", "file:///o"))
    code = (
        "import sys; from embedtune_trainer.cli import main; main(['validate', sys.argv[1]]);"
        "print(sorted({'torch', 'transformers', 'numpy', 'minio', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_data_check_shows_what_a_job_would_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tiny.write_csv(tmp_path / "train.csv", tiny.rows(40))
    assert main(["data", "check", str(file)]) == 0
    assert "classes     4, 0 with a single row" in capsys.readouterr().out
    assert main(["data", "check", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 40
    tiny.write_csv(file, [("a", "x"), ("b", "x")])
    assert main(["data", "check", str(file)]) == 65
    out, err = capsys.readouterr()
    assert "layout      labelled" in out
    assert "only one class" in err
