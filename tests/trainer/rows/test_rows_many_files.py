"""Compressed files, several files in one folder, and files that are not what their names say."""

import bz2
import gzip
import lzma

import pyarrow as pa
import pytest

from embedtune_trainer.rows.table import PairRows
from tests.trainer.rows.reading import read_at, refused_at

CSV = b"text,label\na,x\nb,y\n"
JSONL = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'


def zstd(data: bytes) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stream, "zstd") as packed:
        packed.write(data)
    return stream.getvalue().to_pybytes()


PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize(("name", "content"), [("t.csv", CSV), ("t.jsonl", JSONL)])
def test_compressed_files_are_the_files_that_they_hold(tmp_path, name, content, ending):
    path = tmp_path / (name + ending)
    path.write_bytes(PACKED[ending](content))
    rows = read_at(path)
    assert (rows.items.values, rows.labels) == (["a", "b"], ["x", "y"])
    assert read_at(tmp_path).labels == ["x", "y"]  # told from the folder, too
    path.write_bytes(PACKED[ending](content * 3000)[:-20])
    assert f"{path.as_uri()}: the compressed file is cut off or damaged" in refused_at(path)


def test_tabs_in_a_compressed_file(tmp_path):
    path = tmp_path / "t.TSV.gz"
    path.write_bytes(gzip.compress(b"text\tlabel\na,b\tx\n"))
    assert read_at(path).items.values == ["a,b"]


def test_a_wrong_row_in_a_compressed_file(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(CSV + b"\xff,z\n"))
    assert "line 4, byte 19: b'\\xff' is not utf-8" in refused_at(path)


def shards(folder, **contents: str):
    for name, content in contents.items():
        (folder / f"{name}.csv").write_text(content)


def test_csv_files_of_one_folder_in_the_order_of_their_names(tmp_path):
    shards(tmp_path, b="text,label\nc,z\n", a="text,label\na,x\nb,y\n\n")
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(b"text\tlabel\nd,e\tz\n"))
    rows = read_at(tmp_path)
    assert (rows.items.values, rows.labels) == (["a", "b", "c", "d,e"], ["x", "y", "z", "z"])
    assert read_at(tmp_path, limit=3).items.values == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("text,label\nc,z\n,y\n", "b.csv, row 3, column text: the cell is blank"),
        ('text,label\n"c\nd",z\n,y\n', "b.csv, row 3 (line 4), column text: the cell is blank"),
        ("text,label\nc,z\n\nd,y\n", "b.csv, row 3: the row is blank"),
        ("text,label\nc\n", "b.csv, row 2: 1 cells where 2 are expected"),
        ('text,label\n"c,y\n', "b.csv, row 2: a double quote opens a cell here"),
        ("text,label\nc\0,y\n", "b.csv: line 2: holds a NUL character"),
        ("", "b.csv, no rows: the file is empty"),
        (
            "label,text\nc,z\n",
            "b.csv has the header 'label', 'text', and a.csv 'text', 'label'; give all files",
        ),
    ],
)
def test_errors_name_the_file(tmp_path, wrong, told):
    shards(tmp_path, a="text,label\na,x\nb,y\n", b=wrong)
    assert refused_at(tmp_path).startswith(f"{tmp_path.as_uri()}: {told}")


def test_csv_files_without_a_header_have_to_be_said_to_be(tmp_path):
    shards(tmp_path, a="a,x\nb,y\n", b="c,z\n")
    message = refused_at(tmp_path)
    assert message.startswith("spec.data.train.csv.header: ")
    assert "the first row of a.csv is no header that is known: 'a', 'x'; set it to" in message
    rows = read_at(tmp_path, csv={"header": "absent"})
    assert (rows.items.values, rows.labels) == (["a", "b", "c"], ["x", "y", "z"])
    assert isinstance(read_at(tmp_path, csv={"header": "absent"}, layout="pairs"), PairRows)
    shards(tmp_path, c="d,e,f\n")
    told = "c.csv, row 1: 3 cells where 2 are expected"
    assert told in refused_at(tmp_path, csv={"header": "absent"})


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.parquet", CSV, "is read as parquet, but is text that begins with 'text,label"),
        ("t.parquet", CSV, "set spec.data.train.format, perhaps to csv"),
        ("t.parquet", JSONL, "perhaps to jsonl"),
        ("t.parquet", b"\0\1\2\3", "is something that begins with b'\\x00\\x01\\x02\\x03'"),
        ("t.parquet", gzip.compress(b"PAR1", mtime=0), "is packed by gzip; unpack it"),
        ("t.csv", b"PAR1....", "is a Parquet file; set spec.data.train.format to parquet"),
        ("t.jsonl", b"PAR1....", "is read as jsonl, but is a Parquet file"),
        ("t.csv", b"PK\x03\x04....", "is a zip archive, as Excel's .xlsx files are; unpack it, or"),
        ("t.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a file of an old Excel; save its table"),
        ("t.csv", "text,label\na,x\n".encode("utf-16"), "set spec.data.train.csv.encoding to utf-"),
        ("t.csv", "text,label\n".encode("utf-16-le"), "holds a NUL character"),
        ("t.csv", b"\x89PNG\r\n\x1a\n", "is an image; name a file of rows"),
        ("t.jsonl", b"[\n" + JSONL, "row 1: not JSON"),
        ("t.tar", CSV, "cannot be read as an uncompressed tar file"),
        ("t.arrow", CSV, "t.arrow cannot be read"),
    ],
)
def test_files_that_are_not_what_their_names_say(tmp_path, name, content, told):
    path = tmp_path / name
    path.write_bytes(content)
    message = refused_at(path)
    assert message.startswith(path.as_uri())
    assert name in message
    assert told in message


def test_half_a_character_in_json_is_named(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(rb'{"text": "a\ud83d", "label": "x"}')
    assert "row 1, column text: " in refused_at(path)
    assert r"holds '\ud83d', one half of a character" in refused_at(path)
