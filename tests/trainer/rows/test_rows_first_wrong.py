"""Which wrong row is told when several are: the first in the file, whatever is wrong with it."""

import pytest

from embedtune_trainer.rows import chunks
from tests.trainer.rows.reading import PAIR, TEXT, URI, VECTOR, read, refused

HERE = "file:///data/train.csv"


@pytest.fixture(params=[1, 3, 65_536])
def chunk_rows(request, monkeypatch):
    """Whether the rows come in one chunk or in several."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", request.param)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["a,x", "b,", "c", "d,x"], "row 3, column label: the cell is blank"),
        (["a,x", "b", ",x"], "row 3: 1 cells where 2 are expected"),
        (["a,x", " ,x", "", "b,y"], "row 3, column text: the cell is blank"),
        (["a,", '"b,x'], "row 2, column label: the cell is blank"),
        (["a,x", "b,y", '"b,x'], "row 4: a double quote opens a cell here"),
    ],
)
def test_the_first_wrong_row_is_told(tmp_path, chunk_rows, lines, told):
    assert refused(tmp_path, "\n".join(["text,label", *lines])).startswith(f"{URI}: {told}")


def test_what_is_skipped_is_counted_over_all_chunks(tmp_path, chunk_rows):
    good = [f"text {i},{i % 2}" for i in range(297)]
    content = "\n".join(["text,label", "a,", *good[:100], "b", *good[100:], " ,x"])
    rows = read(tmp_path, content, onBadRow="skip")
    assert rows.items.values == [f"text {i}" for i in range(297)]
    assert rows.labels == [f"{i % 2}" for i in range(297)]
    assert rows.skipped.count == 3
    assert "4 of 301 rows are wrong" in refused(tmp_path, content + "\n,x", onBadRow="skip")


def test_columns_are_told_apart_before_any_row_is_wrong(tmp_path, chunk_rows):
    """The images are found by all rows, of which some are wrong in their own ways."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"PNG")
    content = "a.png,one\nlost.png,two\nthree\nb.png,four\n"
    message = refused(tmp_path, content, HERE, want=PAIR)
    assert message.startswith(f"{HERE}: row 2, column 1 (image): there is no image")


@pytest.mark.parametrize(
    ("uri", "row", "want", "at_once"),
    [
        (URI, f"{'x' * 99},y", TEXT, 10),
        ("s3://data/v.jsonl", f'{{"item": {[0.5] * 25}, "label": 1}}', VECTOR, 2),
    ],
)
def test_long_rows_make_small_chunks(tmp_path, monkeypatch, uri, row, want, at_once):
    sizes = []
    check = chunks.Checked.right
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1000)

    def right(self):
        sizes.append(len(self._chunk))
        return check(self)

    monkeypatch.setattr(chunks.Checked, "right", right)
    rows = read(tmp_path, f"{row}\n" * (3 * at_once + 1), uri=uri, want=want)
    assert (sizes, len(rows)) == ([at_once, at_once, at_once, 1], 3 * at_once + 1)
