"""Columns outside Python's heap: what goes in comes out, small or large."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.columns import growing
from embedtune_trainer.rows.columns.blobs import PackedTexts
from embedtune_trainer.rows.columns.growing import Growing
from embedtune_trainer.rows.columns.identity import numbered, shared
from embedtune_trainer.rows.columns.labels import Labels
from embedtune_trainer.rows.columns.pictures import FileSlice, PackedImages
from embedtune_trainer.rows.table import Images, LabelledRows, Texts, Vectors

TEXTS = st.lists(st.text(), max_size=30)


@pytest.fixture
def tiny_memory(monkeypatch):
    """All columns lie in files."""
    monkeypatch.setattr(growing, "IN_MEMORY_BYTES", 0)


@given(TEXTS, st.randoms(use_true_random=False))
def test_texts_are_the_list_that_they_were(texts, chance):
    packed = PackedTexts.of(texts)
    assert packed == texts
    assert list(packed) == packed[:] == texts
    chosen = chance.choices(range(len(texts)), k=5) if texts else []
    assert packed.take(chosen) == [texts[i] for i in chosen]
    assert packed[1:-1] == texts[1:-1]
    assert packed[::2] == texts[::2]
    assert packed != [*texts, "more"]


def test_indices_from_the_end_and_beyond():
    packed = PackedTexts.of(["a", "b"])
    assert (packed[-1], packed[-2]) == ("b", "a")
    for index in (2, -3):
        with pytest.raises(IndexError):
            packed[index]


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_large_columns_lie_in_files_without_names(tmp_path, tiny_memory, count):
    texts = [f"text {i} é" for i in range(count)]
    packed = PackedTexts.of(texts, tmp_path / "scratch")
    assert packed == texts
    assert packed.take([*range(0, count, 7)]) == texts[::7]
    assert list(tmp_path.rglob("*.*")) == []


def test_an_array_in_a_file_is_read_only(tmp_path, tiny_memory):
    numbers = Growing(np.int64, tmp_path)
    numbers.extend(range(5))
    numbers.extend(np.arange(5, 9))
    array = numbers.finish()
    assert array.tolist() == list(range(9))
    assert not array.flags.writeable


def test_no_room_for_the_file_says_what_to_do(tmp_path, tiny_memory):
    numbers = Growing(np.int64, tmp_path)
    with Path("/dev/full").open("wb", buffering=0) as full:
        numbers._file = full
        with pytest.raises(BadSpec, match=r"no room for the rows in .*give the work directory"):
            numbers.extend(range(10_000))


@given(st.lists(st.sampled_from("abcd")))
def test_labels_are_the_list_that_they_were(labels):
    packed = Labels.of(labels)
    assert packed == labels
    assert packed.sizes() == {name: labels.count(name) for name in labels}
    some = packed.take(range(0, len(labels), 2))
    assert some == labels[::2]
    _, expected = np.unique(np.asarray(labels[::2], dtype=object), return_inverse=True)
    assert some.numbers_N().tolist() == expected.tolist()


def test_images_are_the_list_that_they_were(tmp_path, tiny_memory):
    odd = tmp_path / b"caf\xe9.png".decode("utf-8", "surrogateescape")
    images = [odd, FileSlice(tmp_path / "a.tar", 512, 3), b"", b"PNG", Path("x")]
    packed = PackedImages.of(images)
    assert packed == images
    assert packed.take([3, 1]) == [b"PNG", images[1]]


def test_equal_images_have_one_identity_wherever_they_lie(tmp_path):
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "b.png").write_bytes(b"one")
    (tmp_path / "c.png").write_bytes(b"two")
    (tmp_path / "d.tar").write_bytes(b"....one...")
    slice_ = FileSlice(tmp_path / "d.tar", 4, 3)
    values = [tmp_path / "a.png", tmp_path / "c.png", b"one", tmp_path / "b.png", slice_]
    images = Images(values, [f"row {i}" for i in range(5)])
    (numbers,), count = numbered(images.identities_N2)
    assert (numbers.tolist(), count) == ([0, 1, 0, 0, 0], 2)
    (tmp_path / "c.png").unlink()  # known already, and for parts of it, too
    assert numbered(images.take([1, 3]).identities_N2)[0][0].tolist() == [0, 1]
    lost = Images([tmp_path / "c.png"], ["data.csv: row 7"])
    with pytest.raises(BadData, match=r"^data.csv: row 7: the image cannot be read: No such file"):
        _ = lost.identities_N2


@given(TEXTS, TEXTS)
def test_items_are_numbered_as_they_come(left, right):
    known = {text: i for i, text in enumerate(dict.fromkeys(left + right))}
    sides = [Texts(side).identities_N2 for side in (left, right)]
    (left_N, right_N), count = numbered(*sides)
    assert left_N.tolist() == [known[text] for text in left]
    assert right_N.tolist() == [known[text] for text in right]
    assert count == len(known)
    assert shared(*sides) == len(set(left) & set(right))


def test_vectors_are_taken_into_a_file(tmp_path, tiny_memory):
    values_ND = np.arange(12, dtype=np.float32).reshape(4, 3)
    vectors = Vectors(values_ND, tmp_path)
    assert vectors.take([2, 0]).values_ND.tolist() == [[6, 7, 8], [0, 1, 2]]
    assert len(vectors.take([])) == 0
    (numbers,), _ = numbered(Vectors(values_ND[[0, 1, 0]]).identities_N2)
    assert numbers.tolist() == [0, 1, 0]


def test_rows_equal_rows_of_the_same():
    rows = LabelledRows(Texts(["a", "b"]), ["x", "y"], "s")
    assert rows == LabelledRows(Texts(PackedTexts.of(["a", "b"])), Labels.of(["x", "y"]), "s")
    assert rows != LabelledRows(Texts(["a", "b"]), ["x", "x"], "s")
    assert rows.take([1]).class_sizes == {"y": 1}
