"""Files that docarray 0.21 and 0.41 have really written are read as the CSV of the same data."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedtune_trainer.rows.table import LabelledRows, PairRows
from tests.trainer.rows import docarrays
from tests.trainer.rows.reading import IMAGE, PAIR, VECTOR, read, read_at, refused, refused_at

PNG = b"\x89PNG\r\n\x1a\n"
COMPRESSIONS = ("", ".lz4", ".bz2", ".lzma", ".zlib", ".gzip")
LABELLED_CSV = (
    'text,label\n"a ""quoted"" text,\nof two lines",1\nein Käse,0\nthird,12\nfourth, spaced \n'
)
SCORED_CSV = "a,b,0\nc,d,0.25\ne,f,1.0\n"


@pytest.fixture(scope="session")
def written_by(tmp_path_factory):
    """Files by docarray's version, beside an image cat.png."""

    def copied(version: str) -> Path:
        folder = tmp_path_factory.mktemp("documents") / version
        shutil.copytree(docarrays.files_of(version), folder)
        (folder / "cat.png").write_bytes(PNG)
        return folder

    return {version: copied(version) for version in ("0.21", "0.41")}


def binaries() -> list[str]:
    protocols = ("protobuf", "protobuf-array")
    return [f"labelled.{p}{compression}" for p in protocols for compression in COMPRESSIONS]


@pytest.mark.parametrize("version", ["0.21", "0.41"])
@pytest.mark.parametrize("name", [*binaries(), "labelled.json"])
def test_labelled_is_what_the_csv_gives(written_by, tmp_path, version, name):
    rows = read_at(written_by[version] / name)
    assert isinstance(rows, LabelledRows)
    same = read(tmp_path, LABELLED_CSV, uri=rows.source, format="csv")
    assert rows == same


def test_json_of_protobuf(written_by, tmp_path):
    rows = read_at(written_by["0.21"] / "labelled-protobuf.json")
    assert rows == read(tmp_path, LABELLED_CSV, uri=rows.source, format="csv")


def test_csv_that_docarray_wrote(written_by):
    """It makes blanks of line ends, and True of the label 1: that is what is in the file."""
    rows = read_at(written_by["0.21"] / "labelled.csv")
    assert rows.items.values[0] == 'a "quoted" text, of two lines'
    assert rows.labels == ["True", "False", "12.0", "spaced"]


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("0.21", "scored.protobuf"),
        ("0.21", "scored.json"),
        ("0.41", "scored.protobuf"),
        ("0.41", "scored.protobuf-array"),
        ("0.41", "scored.json"),
    ],
)
def test_scored_is_what_the_csv_gives(written_by, tmp_path, version, name):
    rows = read_at(written_by[version] / name)
    same = read(tmp_path, SCORED_CSV)
    assert (rows.left, rows.right) == (same.left, same.right)
    assert np.array_equal(rows.scores_N, same.scores_N)


@pytest.mark.parametrize("name", ["pairs.protobuf", "pairs.json"])
def test_pairs(written_by, name):
    rows = read_at(written_by["0.21"] / name)
    assert isinstance(rows, PairRows)
    assert (rows.left.values, rows.scores_N) == (["a", "c", "e"], None)


@pytest.mark.parametrize("name", ["text-image.protobuf", "text-image.json"])
def test_text_and_image_by_modality(written_by, name):
    folder = written_by["0.21"]
    rows = read_at(folder / name, PAIR)
    assert rows.left.values == ["a cat", "a dog"]
    assert rows.right.values == [folder / "cat.png", PNG]


@pytest.mark.parametrize("name", ["text-image.protobuf", "text-image.json"])
def test_fields_of_a_doclist(written_by, name, tmp_path):
    folder = written_by["0.41"]
    rows = read_at(folder / name, PAIR)
    assert rows.left.values == ["a cat", "pixels"]
    assert rows.right.values[0] == folder / "cat.png"
    (tmp_path / "x.png").write_bytes(rows.right.values[1])
    assert np.asarray(Image.open(tmp_path / "x.png")).ravel().tolist() == list(range(12))


def test_bytes_in_a_doclist(written_by):
    assert read_at(written_by["0.41"] / "bytes.protobuf", PAIR).right.values == [PNG]


@pytest.mark.parametrize("name", ["images.protobuf", "images.json"])
def test_labelled_images(written_by, name, tmp_path):
    folder = written_by["0.21"]
    rows = read_at(folder / name, IMAGE)
    assert rows.labels == ["cat", "dog", "cat"]
    assert rows.items.values[:2] == [folder / "cat.png", PNG]
    (tmp_path / "x.png").write_bytes(rows.items.values[2])
    assert np.asarray(Image.open(tmp_path / "x.png")).ravel().tolist() == list(range(12))


@pytest.mark.parametrize("version", ["0.21", "0.41"])
@pytest.mark.parametrize("name", ["vectors.protobuf", "vectors.json"])
def test_vectors(written_by, version, name):
    rows = read_at(written_by[version] / name, VECTOR)
    assert rows.items.values_ND.tolist() == [[1, 0.5, -1], [2, 0.5, -2]]
    assert rows.labels == ["1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [f"labelled.{p}{c}" for p in ("pickle", "pickle-array") for c in ("", ".lz4", ".zlib")]
)
def test_a_pickle_is_refused_with_the_line_that_converts_it(written_by, name, tmp_path):
    shutil.copy(written_by["0.21"] / name, tmp_path)
    message = refused_at(tmp_path / name)
    assert "is a pickle, which can run any code" in message
    (line,) = re.findall(r'python -c "(.*)"$', message)
    subprocess.run([docarrays.python_with("0.21"), "-c", line], cwd=tmp_path, check=True)
    rows = read_at(tmp_path / "labelled.protobuf")
    assert rows.items == read(tmp_path, LABELLED_CSV).items


def test_a_pickle_of_docarray_041_is_refused(written_by):
    assert "is a pickle" in refused_at(written_by["0.41"] / "labelled.pickle")


def test_documents_of_two_kinds(written_by):
    message = refused_at(written_by["0.21"] / "mixed.protobuf")
    assert "row 2: has 2 chunks, unlike the documents before" in message


@pytest.mark.parametrize("name", ["modalities.protobuf", "modalities.json"])
def test_chunks_of_one_modality_are_no_text_and_image(written_by, name):
    assert "no column is called text" in refused_at(written_by["0.21"] / name, PAIR)


def test_files_that_are_cut_off(written_by, tmp_path):
    for name in [*binaries(), "labelled.json"]:
        data = (written_by["0.21"] / name).read_bytes()
        message = refused(tmp_path, data[:-7], uri=f"s3://data/{name}")
        assert message.startswith(f"s3://data/{name}: "), name


def test_something_else(tmp_path):
    for content in (b"hello", b"[1]", b"", b"{}", b"\x01" + b"\xff" * 20):
        message = refused(tmp_path, content, uri="s3://data/x.protobuf")
        assert "is no DocumentArray" in message or "no rows" in message or "damaged" in message
