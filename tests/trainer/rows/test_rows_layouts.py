"""Which column is what: by the spec, by the header's names, by position."""

import pytest

from embedtune_trainer.rows.table import LabelledRows, PairRows
from tests.trainer.rows.reading import IMAGE, PAIR, VECTOR, read, refused

PNG = b"\x89PNG\r\n\x1a\n"
HERE = "file:///data/train.csv"


@pytest.mark.parametrize(
    ("header", "layout"),
    [
        ("anchor,positive", "auto"),
        ("Query,Passage", "auto"),
        ("question,answer", "auto"),
        ("sentence1,sentence2", "auto"),
        ("text1,text2", "pairs"),
    ],
)
def test_pairs_by_name(tmp_path, header, layout):
    rows = read(tmp_path, f"{header}\na,b\nc,b\n", layout=layout)
    assert isinstance(rows, PairRows)
    assert (rows.left.values, rows.right.values) == (["a", "c"], ["b", "b"])
    assert rows.scores_N is None


def test_pairs_keep_what_shares_an_item(tmp_path):
    """D12: Finetuner dropped the third row, which left D a negative of A."""
    rows = read(tmp_path, "A,B\nC,D\nA,D\n", layout="pairs")
    assert list(zip(rows.left.values, rows.right.values, strict=True)) == [
        ("A", "B"),
        ("C", "D"),
        ("A", "D"),
    ]


def test_hard_negatives(tmp_path):
    rows = read(tmp_path, "query,negative_2,positive,negative_1\na,d,b,c\n")
    assert [column.values for column in rows.negatives] == [["d"], ["c"]]
    columns = {"anchor": "x", "positive": "y", "negatives": ["z"]}
    rows = read(tmp_path, "x,y,z\na,b,c\n", columns=columns)
    assert [column.values for column in rows.negatives] == [["c"]]


def test_a_score_beside_a_negative_is_a_margin_of_any_size(tmp_path):
    rows = read(tmp_path, "query,positive,negative,score\na,b,c,7.5\nd,e,f,-1\n")
    assert rows.scores_N is None
    assert rows.margins_N.tolist() == [7.5, -1.0]
    assert [column.values for column in rows.negatives] == [["c", "f"]]
    assert rows.take([1]).margins_N.tolist() == [-1.0]
    pairs = read(tmp_path, "query,positive,negative,score\na,b,c,7.5\n", layout="pairs")
    assert pairs.margins_N is None
    said = refused(tmp_path, "query,positive,negative,score\na,b,c,high\n")
    assert "'high' is not a number; with a column of negatives the score is what" in said
    said = refused(tmp_path, "query,positive,negative_1,negative_2,score\na,b,c,d,1\n")
    assert "2 columns of negatives and one score" in said


def test_scored_by_name_and_by_position(tmp_path):
    for content in ("a,b,0.5\nc,d,1\n", "sentence1,sentence2,score\na,b,0.5\nc,d,1\n"):
        rows = read(tmp_path, content)
        assert rows.scores_N.tolist() == [0.5, 1.0]
        assert rows.right.values == ["b", "d"]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("4.5", "'4.5' is not a score from 0 to 1; divide ratings by their highest (0 to 5: by 5)"),
        ("-0.2", "(x + 1) / 2 of cosines"),
        ("nan", "'nan' is not a score from 0 to 1"),
        ("high", "'high' is not a number"),
        ("0_1", "'0_1' is not a number"),
        ("", "the cell is blank"),
    ],
)
def test_scores_are_checked(tmp_path, cell, said):
    message = refused(tmp_path, f"a,b,0.5\nc,d,{cell}\n")
    assert message.startswith("s3://data/train.csv: row 2, column 3 (score): ")
    assert said in message


def test_finetuner_s_labels_and_scores_have_their_names(tmp_path):
    assert read(tmp_path, "text,finetuner_label\na,1\n").labels == ["1"]
    assert read(tmp_path, "id,text,tag__finetuner_label\n7,a,True\n").labels == ["True"]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("sentence1,sentence2,label\na,b,1\n", {}, "could be pairs or labelled; set spec.data"),
        ("a,b\n", {"layout": "text-image"}, "spec.data.train.layout: text-image does not go with"),
        ("a,b\n", {"layout": "scored"}, "2 cells, where a file without a header has item,item,sc"),
        (
            "a,b,c\n",
            {"layout": "labelled"},
            "3 cells, where a file without a header has item,label",
        ),
        ("query,response\na,b\n", {"layout": "pairs"}, "'query' is a usual name of a column, but"),
        (
            "text,label\na,b\n",
            {"columns": {"text": "text"}},
            "spec.data.train.columns: text do not",
        ),
        (
            "text,label\na,b\n",
            {"columns": {"item": "text", "anchor": "label"}},
            "spec.data.train.columns: anchor, item do not go with rows",
        ),
        ("a,b\n", {"columns": {"item": "a", "label": "a"}}, "one column is named for two things"),
    ],
)
def test_what_could_be_meant_otherwise_is_refused(tmp_path, content, options, said):
    assert said in refused(tmp_path, content, **options)


def test_a_layout_settles_it(tmp_path):
    content = "sentence1,sentence2,label\na,b,1\n"
    assert isinstance(read(tmp_path, content, layout="pairs"), PairRows)
    columns = {"item": "sentence1", "label": "label"}
    assert isinstance(read(tmp_path, content, columns=columns), LabelledRows)
    columns = {"anchor": "sentence1", "positive": "sentence2", "score": "label"}
    assert read(tmp_path, content, columns=columns).scores_N.tolist() == [1.0]


def test_a_header_is_present_or_absent_where_the_spec_says_so(tmp_path):
    assert len(read(tmp_path, "text,label\na,b\n", csv={"header": "absent"})) == 2
    message = refused(tmp_path, "a,b\nc,d\n", csv={"header": "present"})
    assert "no column is called" in message


def test_text_and_image_in_either_order(tmp_path):
    """D15: a first caption that begins with data: or http: turned the columns around."""
    (tmp_path / "odd name").write_bytes(PNG)
    (tmp_path / "a.png").write_bytes(PNG)
    captions = ["data: a chart of it", "http://example.com is down", "a photo.jpg"]
    images = ["a.png", "odd name", "data:image/png;base64,iVBORw0KGgo="]
    pairs = list(zip(captions, images, strict=True))
    for turned in (False, True):
        lines = [f"{i},{t}" if turned else f"{t},{i}" for t, i in pairs[:2]]
        lines.append(
            f'"{pairs[2][1]}",{pairs[2][0]}' if turned else f'{pairs[2][0]},"{pairs[2][1]}"'
        )
        rows = read(tmp_path, "\n".join(lines), want=PAIR, uri=HERE)
        assert rows.left.values == captions
        assert rows.right.values == [tmp_path / "a.png", tmp_path / "odd name", PNG]


def test_text_and_image_by_name(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    rows = read(tmp_path, "image_path,x,caption\na.png,1,hello\n", want=PAIR, uri=HERE)
    assert (rows.left.values, rows.right.values) == (["hello"], [tmp_path / "a.png"])
    assert rows.right.names == [f"{HERE}: row 2, column image_path: a.png"]


def test_columns_that_cannot_be_told_apart(tmp_path):
    message = refused(tmp_path, "a,b\nc,d\n", want=PAIR)
    assert "cannot tell which column is the image" in message
    assert "add a header text,image" in message


def test_vectors(tmp_path):
    rows = read(tmp_path, 'item,label\n"[1, 2.5]",x\n"[3, 4]",y\n', want=VECTOR)
    assert rows.items.values_ND.tolist() == [[1, 2.5], [3, 4]]
    assert rows.items.values_ND.dtype == "float32"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("[1]", "the vector has 1 dimensions, those of the rows before 2"),
        ("[1, NaN]", "no finite float32"),
        ("[1, 1e39]", "no finite float32"),
        ("[1, true]", "is no vector; write a list of numbers"),
        ("[]", "is no vector"),
        ("1 2", "is no vector"),
    ],
)
def test_vectors_are_checked(tmp_path, cell, said):
    message = refused(tmp_path, f'item,label\n"[1, 2]",x\n"{cell}",y\n', want=VECTOR)
    assert "row 3, column item: " in message
    assert said in message


def test_labelled_images(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    rows = read(tmp_path, "a.png,cat\n", want=IMAGE, uri=HERE)
    assert rows.items.values == [tmp_path / "a.png"]
    message = refused(tmp_path, "a.png,cat\nb.png,dog\n", want=IMAGE, uri=HERE)
    assert f"row 2, column 1 (item): there is no image {tmp_path}/b.png" in message
