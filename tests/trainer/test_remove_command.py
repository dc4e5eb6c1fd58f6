"""`embedtune remove`, on real S3 servers and on the file system."""

from pathlib import Path

import pytest

from embedtune_api.contract import ExitCode
from embedtune_trainer.cli import main
from tests.trainer.conftest import S3

UID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def test_one_jobs_prefix_goes_and_its_neighbour_stays(
    s3: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    mine, other = f"tuned/search/tune/{UID}", f"tuned/search/tune/{UID[:-1]}f"
    for folder in (mine, other):
        for name in ("manifest.json", "checkpoints/step-1/state.safetensors"):
            s3.put(f"{folder}/{name}", b"x")
    assert main(["remove", s3.uri(mine)]) == ExitCode.DONE
    assert "2 files removed" in capsys.readouterr().out
    assert s3.names(mine) == {}
    assert len(s3.names(other)) == 2
    assert main(["remove", s3.uri(mine)]) == ExitCode.DONE
    assert "0 files removed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "uri",
    [
        "s3://models/",
        "s3://models/tuned/search/tune/",
        f"s3://models/tuned/{UID}/",
        f"s3://models/tuned/search/../{UID}/",
        f"s3://models/../search/tune/{UID}/",
        f"hf://models/tuned/search/tune/{UID}/",
        f"s3://models/tuned/search/tune/{UID}/checkpoints/",
    ],
)
def test_what_is_not_one_jobs_prefix_is_left_alone(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["remove", uri]) == ExitCode.BAD_SPEC
    assert "nothing was removed" in capsys.readouterr().err
