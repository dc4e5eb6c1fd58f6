"""`embedtune encode` as a user types it: the model's embeddings, in the file's order."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from embedtune_trainer import encode_command
from embedtune_trainer.cli import main
from embedtune_trainer.embedder.load import open_model
from embedtune_trainer.rows.table import Texts
from tests.trainer import tiny
from tests.trainer.hub import clips
from tests.trainer.hub.vision_families import pictures

TEXTS = [text for text, _ in tiny.rows(30)]


@pytest.fixture(autouse=True)
def _few_at_a_time(monkeypatch):
    monkeypatch.setattr(encode_command, "AT_A_TIME", 12)


@pytest.fixture
def data(tmp_path):
    return tiny.write_csv(tmp_path / "rows.csv", tiny.rows(30))


def encode(*arguments):
    return main(["encode", *map(str, arguments)])


def test_every_format_holds_what_the_model_gives(tiny_backbone, data, tmp_path, capsys):
    expected = open_model(tiny_backbone).encode(Texts(TEXTS)).numpy()
    for ending in ("npy", "parquet", "jsonl"):
        out = tmp_path / f"out.{ending}"
        assert encode(tiny_backbone, data, "--out", out, "--batch-size", 5) == 0
        assert capsys.readouterr().out == f"{out}: 30 embeddings of 32 dimensions\n"
    assert not list(tmp_path.glob(".*"))
    array = np.load(tmp_path / "out.npy")
    assert array.dtype == np.float32
    assert np.abs(array - expected).max() < 1e-6
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert table["row"] == [line["row"] for line in lines] == list(range(30))
    assert table["item"] == [line["item"] for line in lines] == TEXTS
    for found in (table["embedding"], [line["embedding"] for line in lines]):
        assert (np.array(found, np.float32) == array).all()


def test_a_pair_encodes_the_side_that_is_asked_for(tmp_path, capsys):
    folder = clips.clip(tmp_path / "clip")
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for name, picture in zip(("b.png", "a.png", "more/c.jpg"), pictures(), strict=True):
        picture.save(photos / name)
    (photos / "notes.txt").write_text("no image")
    assert encode(folder, photos, "--out", tmp_path / "o.jsonl") == 64
    assert "say --side text or --side image" in capsys.readouterr().err
    assert encode(folder, photos, "--side", "image", "--out", tmp_path / "o.jsonl") == 0
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == ["a.png", "b.png", "more/c.jpg"]
    assert {len(line["embedding"]) for line in lines} == {clips.DIM}
    table = tmp_path / "both.csv"
    table.write_text("image,caption\nphotos/a.png,a cat\nphotos/b.png,a dog\n")
    for side, count in (("text", 2), ("image", 2)):
        assert encode(folder, table, "--side", side, "--out", tmp_path / "o.npy") == 0
        assert np.load(tmp_path / "o.npy").shape == (count, clips.DIM)


@pytest.mark.parametrize(
    ("content", "options", "encoded"),
    [
        ("text\nred\nblue\n", (), ["red", "blue"]),
        ("id,query,label\n1,red,x\n2,blue,y\n", (), ["red", "blue"]),
        ("id,body\n1,red\n2,blue\n", ("--column", "body"), ["red", "blue"]),
        ("red\nblue\n", (), ["red", "blue"]),
        ("1,red\n2,blue\n", ("--column", "2"), ["red", "blue"]),
    ],
)
def test_the_column_is_found(content, options, encoded, tiny_backbone, tmp_path):
    data, out = tmp_path / "d.csv", tmp_path / "o.jsonl"
    data.write_text(content)
    assert encode(tiny_backbone, data, *options, "--out", out) == 0
    assert [json.loads(line)["item"] for line in out.read_text().splitlines()] == encoded


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("1,red\n2,blue\n", (), "row 1: has 2 cells and no header; say by --column which one"),
        ("1,red\n", ("--column", "3"), "say by --column which one to encode, from 1"),
        ("text,query\na,b\n", (), "several columns have a usual name of a text to encode"),
        ("text,label\na,b\n", ("--column", "body"), "no column 'body', which --column asks for"),
        ("text,label\nred,x\n,y\n", (), "row 3"),
        ("text\n", (), "no rows"),
    ],
)
def test_what_cannot_be_encoded(content, options, says, tiny_backbone, tmp_path, capsys):
    data, out = tmp_path / "d.csv", tmp_path / "o.npy"
    data.write_text(content)
    assert encode(tiny_backbone, data, *options, "--out", out) == 65
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_wrong_options_are_told_before_the_model_is_opened(data, tmp_path, capsys):
    assert encode("/none", data, "--out", tmp_path / "o.txt") == 64
    assert "ends in none of .npy, .parquet, .jsonl" in capsys.readouterr().err
    assert encode("/none", data, "--out", tmp_path / "no" / "o.npy") == 67
    assert encode("/none", data, "--out", tmp_path / "o.npy", "--batch-size", 0) == 64
    assert encode("/none", data, "--out", tmp_path / "o.npy") == 67


def test_a_side_that_a_model_lacks(tiny_backbone, data, tmp_path, capsys):
    assert encode(tiny_backbone, data, "--side", "image", "--out", tmp_path / "o.npy") == 64
    assert "encodes texts, not images; leave --side out" in capsys.readouterr().err
