"""CSV files, good and bad: nothing is lost, and what is wrong is named."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune_api.spec import Dataset
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.csv_file import check_trainable, read_rows

URI = "s3://data/train.csv"


def read(tmp_path: Path, content: str | bytes, uri: str = URI, **options):
    path = tmp_path / "file"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_rows(path, Dataset.parse({"uri": uri, **options}))


def refused(tmp_path: Path, content: str | bytes, uri: str = URI, **options) -> str:
    with pytest.raises((BadData, BadSpec)) as caught:
        read(tmp_path, content, uri, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["item", "text", "Sentence", "question", "query", "title"])
def test_header_is_found(tmp_path, name):
    rows = read(tmp_path, f"id,Label,{name}\r\n1, x ,a\r\n2,y, b \r\n")
    assert rows.items.values == ["a", " b "]
    assert rows.labels == ["x", "y"]
    assert rows.source == URI


def test_headerless_is_item_then_label(tmp_path):
    rows = read(tmp_path, "a,1\nb,01\n")
    assert (rows.items.values, rows.labels) == (["a", "b"], ["1", "01"])


def test_columns_by_name(tmp_path):
    csv_options = {"columns": {"item": "q", "label": "kind"}}
    rows = read(tmp_path, "kind,x,q\nk,,a\n", csv=csv_options)
    assert (rows.items.values, rows.labels) == (["a"], ["k"])


def test_bom_tabs_quotes_and_trailing_blank_lines(tmp_path):
    content = '\ufefftext\tlabel\n"a ""b""\n,c"\tx\né\ty\n\n\n'
    rows = read(tmp_path, content, uri="s3://data/train.tsv")
    assert rows.items.values == ['a "b"\n,c', "é"]


@given(st.lists(st.tuples(st.text(min_size=1), st.sampled_from("xyz")), min_size=1))
def test_what_is_written_comes_back(tmp_path_factory, content):
    content = [(t, k) for t, k in content if not t.isspace() and "\0" not in t]
    content = [(t, k) for t, k in content if t.encode(errors="ignore").decode() == t] or [
        ("a", "b")
    ]
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *content])
    rows = read(tmp_path_factory.mktemp("csv"), stream.getvalue())
    assert list(zip(rows.items.values, rows.labels, strict=True)) == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no rows: the file is empty"),
        ("text,label\n", "no rows: the file holds a header and nothing else"),
        ("text,label\na,x\n ,y\n", "row 3, column text: the cell is blank"),
        ("text,label\na,\n", "row 2, column label: the cell is blank"),
        ('text,label\n"a\nb",x\nc\n', "row 3 (line 4): 1 cells where 2 are expected: 'c'"),
        ("text,label\na,x\n\nb,y\n", "row 3: the row is blank"),
        ('text,label\na,x\n"b,y\nc,z\n', "row 3: a double quote opens a cell here that is never"),
        ('text,label\n"a" b,x\n', "row 2: a closing quote is not followed by"),
        ('text,label\na, "b, c"\n', "3 cells where 2 are expected"),
        ("a,b,c\n", "row 1: 3 cells, where a file without a header has two"),
        ("text,text,label\n", "row 1: the header names 'text' more than once"),
        ("body,label\na,x\n", "row 1: no column is called item or text"),
        ("text,title,label\n", "row 1: more than one column is called item or text"),
        ("text,label\na\0b,x\n", "line 2: holds a NUL character"),
        (b"text,label\na,x\nb\xe9,y\n", "line 3, byte 16: b'\\xe9' is not utf-8"),
        (b"\xef\xbb\xbftext,label\nb\xe9,y\n", "line 2, byte 15: b'\\xe9' is not utf-8"),
    ],
)
def test_bad_files(tmp_path, content, said):
    message = refused(tmp_path, content)
    assert message.startswith(URI + ": ")
    assert said in message


def test_a_wrong_encoding_says_what_to_set(tmp_path):
    assert "set spec.data.train.csv.encoding" in refused(tmp_path, b"a,x\n\xff,y\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"csv": {"encoding": "klingon"}}, "spec.data.train.csv.encoding: 'klingon' is not"),
        ({"csv": {"encoding": "hex"}}, "spec.data.train.csv.encoding: 'hex' is not"),
        ({"csv": {"delimiter": '"'}}, "spec.data.train.csv.delimiter"),
        ({"uri": "s3://data/train"}, "spec.data.train.format: cannot be told"),
        (
            {"csv": {"header": "absent", "columns": {"item": "a", "label": "b"}}},
            "spec.data.train.csv.columns: names columns, but",
        ),
    ],
)
def test_bad_options(tmp_path, options, said):
    assert said in refused(tmp_path, "a,x\n", **options)


def test_columns_that_are_not_there(tmp_path):
    options = {"columns": {"item": "q", "label": "kind"}}
    message = refused(tmp_path, "kind,x\nk,a\n", csv=options)
    assert "no column 'q', which spec.data.train.csv.columns.item asks for" in message
    assert "the header names 'kind', 'x'" in message


def test_latin_1(tmp_path):
    rows = read(tmp_path, "caf\xe9,x\n".encode("latin-1"), csv={"encoding": "latin-1"})
    assert rows.items.values == ["café"]


def test_one_class_and_no_positives_are_refused(tmp_path):
    with pytest.raises(BadData, match="only one class: all 2 rows have the label 'x'"):
        check_trainable(read(tmp_path, "a,x\nb,x\n"))
    with pytest.raises(BadData, match="each of the 2 rows has a label of its own"):
        check_trainable(read(tmp_path, "a,x\nb,y\n"))
    rows = read(tmp_path, "a,x\nb,x\nc,y\n")
    check_trainable(rows)
    assert rows.singletons == 1
