"""CSV files, good and bad: nothing is lost, and what is wrong is named."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.check import check_trainable
from tests.trainer.rows.reading import URI, read, refused


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
    rows = read(tmp_path, "kind,x,q\nk,,a\n", columns={"item": "q", "label": "kind"})
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
        ("a,b,c\n", "row 1, column 3 (score): 'c' is not a number; the third of three cells"),
        ("a,b,.1,c\n", "row 1: 4 cells, where a file without a header has two, item,label, or"),
        ("a\n", "row 1: 1 cells, where a file without a header has two"),
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


def test_a_wrong_byte_far_behind_is_found_in_its_line(tmp_path):
    """Where a character lies across the pieces that are decoded, too."""
    line = "é" * 50 + ",x\n"
    content = ("a" + line * 20_000).encode()
    message = refused(tmp_path, content + b"\xff,y\n")
    assert f"line 20001, byte {len(content)}: b'\\xff' is not utf-8" in message
    assert f"line 20001, byte {len(content)}: b'\\xc3' is not" in refused(
        tmp_path, content + b"\xc3"
    )


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
            {"csv": {"header": "absent"}, "columns": {"item": "a", "label": "b"}},
            "spec.data.train.columns: names columns, but",
        ),
    ],
)
def test_bad_options(tmp_path, options, said):
    assert said in refused(tmp_path, "a,x\n", **options)


def test_columns_that_are_not_there(tmp_path):
    message = refused(tmp_path, "kind,x\nk,a\n", columns={"item": "q", "label": "kind"})
    assert "no column 'q', which spec.data.train.columns.item asks for" in message
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


def test_utf_16_and_its_lines(tmp_path):
    rows = read(tmp_path, "text,label\né,x\n".encode("utf-16"), csv={"encoding": "utf-16"})
    assert rows.items.values == ["é"]


def test_a_quote_far_behind_splits_no_row(tmp_path):
    """D10: the sniffer looked at 1,024 characters, and the row with doubled quotes came later."""
    content = "".join(f"plain question {i},{i % 3}\n" for i in range(200))
    content += '"What does ""hola"" mean, in ""Spanish""?",1\n'
    rows = read(tmp_path, content)
    assert rows.items.values[-1] == 'What does "hola" mean, in "Spanish"?'
    assert len(rows) == 201


def test_delimiter_of_one_file_is_not_another_s(tmp_path):
    """D11: the train file's sniffed dialect was used for the others."""
    assert read(tmp_path, "a;b\n", csv={"delimiter": ";"}).labels == ["b"]
    assert read(tmp_path, "a,b\n").labels == ["b"]


def test_limit_reads_from_the_first_and_no_further(tmp_path):
    rows = read(tmp_path, "text,label\na,x\nb,y\nc\n", limit=2)
    assert rows.items.values == ["a", "b"]


def test_wrong_rows_are_skipped_counted_and_told(tmp_path):
    good = "".join(f"text {i},{i % 2}\n" for i in range(400))
    rows = read(tmp_path, f"text,label\n{good}a\n\n ,y\nlast,1\n", onBadRow="skip")
    assert (len(rows), rows.items.values[-1]) == (401, "last")
    assert rows.skipped.count == 3
    assert [message.partition(":")[0] for message in sorted(rows.skipped.first)] == [
        "row 402",
        "row 403",
        "row 404, column text",
    ]


def test_no_more_than_a_hundredth_is_skipped(tmp_path):
    good = "".join(f"text {i},{i % 2}\n" for i in range(97))
    message = refused(tmp_path, f"text,label\n{good}a\n ,y\n", onBadRow="skip")
    assert (
        "2 of 99 rows are wrong, and onBadRow: skip leaves out 1 % at most; the first: " in message
    )
    assert "row 99: 1 cells where 2 are expected" in message


def test_the_first_wrong_row_is_told_whatever_its_column(tmp_path):
    assert "row 2, column label" in refused(tmp_path, "text,label\na,\n ,x\n")


def test_an_encoding_that_is_wrong_cannot_be_skipped(tmp_path):
    assert "is not utf-8" in refused(tmp_path, b"a,x\n\xff,y\n" + b"a,x\n" * 500, onBadRow="skip")


def test_labels_are_shared_between_rows(tmp_path):
    rows = read(tmp_path, "a,one-class\nb, one-class \n")
    assert rows.labels[0] is rows.labels[1]


def test_words_that_others_take_for_nothing_are_texts(tmp_path):
    """WordNet has null and nan; pandas, and so `datasets`, makes None of them."""
    words = ["NA", "null", "nan", "None", "N/A", "#N/A", "-inf"]
    rows = read(tmp_path, "".join(f"{word},{word}\n" for word in words))
    assert (rows.items.values, rows.labels) == (words, words)
