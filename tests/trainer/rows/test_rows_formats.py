"""JSON lines, Parquet, datasets' folders, images by class and webdataset: the same rows as CSV."""

import io
import json
import tarfile

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedtune_trainer.errors import BadSpec
from embedtune_trainer.rows.table import FileSlice
from tests.trainer.rows.reading import IMAGE, PAIR, VECTOR, read_at, refused_at

PNG = b"\x89PNG\r\n\x1a\n"
RECORDS = [{"text": "é\n,", "label": 7}, {"text": " b ", "label": "x "}]


def lines(folder, *records, name="train.jsonl"):
    path = folder / name
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in records))
    return path


def parquet(folder, columns, name="train.parquet"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def archive(folder, *members, name="train.tar"):
    path = folder / name
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def content_of(found: FileSlice) -> bytes:
    return found.path.read_bytes()[found.offset : found.offset + found.size]


def test_json_lines(tmp_path):
    rows = read_at(lines(tmp_path, *RECORDS))
    assert (rows.items.values, rows.labels) == (["é\n,", " b "], ["7", "x"])
    vectors = lines(tmp_path, {"item": [1, 2.5], "label": True}, name="v.jsonl")
    rows = read_at(vectors, VECTOR)
    assert (rows.items.values_ND.tolist(), rows.labels) == ([[1, 2.5]], ["true"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{'text': 1}\n", "row 2: not JSON (Expecting property name"),
        ("[1]\n", "row 2: '[1]' is no object"),
        ("\n", "row 2: the line is blank"),
        ('{"text": "a"}\n', "row 2: no 'label'; the object has 'text'"),
        ('{"text": "a", "text": "b", "label": 1}\n', "row 2: a key stands twice"),
        ('{"text": "a", "label": 1, "negative": "b"}\n', "has 'negative', which the first object"),
        ('{"text": 5, "label": 1}\n', "column text: '5' is a number where a text is wanted"),
        ('{"text": null, "label": 1}\n', "row 2, column text: the cell is blank"),
        ('{"text": "a", "label": [1]}\n', "column label: '[1]' is a list where a label is wanted"),
    ],
)
def test_json_lines_that_are_wrong(tmp_path, line, said):
    assert said in refused_at(lines(tmp_path, RECORDS[0], line))


def test_json_lines_in_another_encoding(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"text": "a", "label": 1}\n{"text": "\xe9"}\n')
    assert "line 2, byte 10 of the line: b'\\xe9' is not utf-8" in refused_at(path)


def test_wrong_json_lines_are_skipped(tmp_path):
    path = lines(tmp_path, *RECORDS * 100, "{\n")
    rows = read_at(path, onBadRow="skip")
    assert (len(rows), rows.skipped.count) == (200, 1)
    assert rows.skipped.first[0].startswith("row 201: not JSON")


def test_parquet(tmp_path):
    path = parquet(tmp_path, {"x": [0, 0], "text": ["a", "b"], "label": [7, 8]})
    rows = read_at(path)
    assert (rows.items.values, rows.labels) == (["a", "b"], ["7", "8"])
    wrong = parquet(tmp_path, {"text": ["a", None], "label": [1, 2]})
    assert "row 2, column text: the cell is blank" in refused_at(wrong)
    path.write_bytes(b"PAR1 and no more")
    assert "train.parquet cannot be read" in refused_at(path)


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 2)])
def test_vectors_in_parquet(tmp_path, kind):
    vectors = pa.array([[1, 2.5], [3, 4]], type=kind)
    rows = read_at(parquet(tmp_path, {"vector": vectors, "label": ["a", "b"]}), VECTOR)
    assert rows.items.values_ND.tolist() == [[1, 2.5], [3, 4]]
    holes = pa.array([[1, 2.5], [3, None]], type=kind)
    message = refused_at(parquet(tmp_path, {"vector": holes, "label": ["a", "b"]}), VECTOR)
    assert "row 2, column vector: the vector holds a value that is no finite float32" in message


def test_images_in_parquet(tmp_path):
    (tmp_path / "b.png").write_bytes(PNG)
    images = [{"bytes": PNG, "path": "x.png"}, {"bytes": None, "path": "b.png"}]
    path = parquet(tmp_path, {"image": images, "caption": ["a", "b"]})
    rows = read_at(path, PAIR)
    assert rows.right.values == [PNG, tmp_path / "b.png"]
    assert rows.right.names[0] == f"{path.as_uri()}: row 1, column image"


def features():
    return datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )


def test_what_datasets_saved(tmp_path):
    made = datasets.Dataset.from_dict({"text": list("abcd"), "label": [1, 0, -1, 1]}, features())
    made.select([0, 1, 3]).save_to_disk(tmp_path / "one", num_shards=2)
    rows = read_at(tmp_path / "one")
    assert (rows.items.values, rows.labels) == (["a", "b", "d"], ["yes", "no", "yes"])
    made.save_to_disk(tmp_path / "unlabelled", num_shards=2)
    message = refused_at(tmp_path / "unlabelled")
    assert "data-00001-of-00002.arrow, row 1, column label: the cell is blank" in message
    made.select([0, 1]).to_parquet(tmp_path / "hub.parquet")
    assert read_at(tmp_path / "hub.parquet").labels == ["yes", "no"]


def test_splits_of_datasets(tmp_path):
    made = datasets.Dataset.from_dict({"text": list("abcd"), "label": [1, 0, 1, 0]}, features())
    folder = tmp_path / "splits"
    datasets.DatasetDict(train=made, test=made.select([1])).save_to_disk(folder)
    assert len(read_at(folder)) == 4
    assert len(read_at(folder / "test")) == 1


def test_a_repository_of_the_hub(tmp_path):
    hub = tmp_path / "hub"
    for name, texts in (("train-00000-of-00002", "ab"), ("train-00001-of-00002", "c")):
        columns = {"text": list(texts), "label": ["x"] * len(texts)}
        parquet(hub, columns, f"data/{name}.parquet")
    parquet(hub, {"text": ["d"], "label": ["x"]}, "data/test-00000-of-00001.parquet")
    (hub / "README.md").write_text("about it")
    assert read_at(hub).items.values == ["a", "b", "c"]


def test_other_data_than_training_have_to_name_a_split(tmp_path):
    from embedtune_api.spec import Dataset
    from embedtune_trainer.rows.read import Wanted, read_rows

    for split in ("train", "test"):
        parquet(tmp_path / "hub", {"text": ["d"], "label": ["x"]}, f"{split}.parquet")
    dataset = Dataset.parse({"uri": (tmp_path / "hub").as_uri()})
    field = "spec.data.evaluation"
    with pytest.raises(BadSpec, match=r"spec.data.evaluation.uri: .* several splits, 'test', 'tr"):
        read_rows(tmp_path / "hub", dataset, Wanted("text", "text"), field)


def test_images_by_class(tmp_path):
    folder = tmp_path / "images"
    for name in ("dog/2.PNG", "dog/1.jpg", "cat/deep/3.webp", "cat/.hidden", "cat/Thumbs.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)
    rows = read_at(folder, IMAGE)
    assert rows.labels == ["cat", "dog", "dog"]
    assert [v.name for v in rows.items.values] == ["3.webp", "1.jpg", "2.PNG"]
    (folder / "cat" / "notes.txt").write_text("x")
    assert "cat/notes.txt: is no image by its name" in refused_at(folder, IMAGE)
    (folder / "cat" / "notes.txt").rename(folder / "top.png")
    assert "top.png: lies beside the classes' folders" in refused_at(folder, IMAGE)


def test_webdataset(tmp_path):
    path = archive(
        tmp_path,
        ("a/1.jpg", PNG),
        ("a/1.txt", "é".encode()),
        ("a/1.json", b'{"width": 5}'),
        ("a/2.txt", b"two"),
        ("a/2.jpg", PNG + b"2"),
        ("a/2.json", b'{"width": 6}'),
    )
    rows = read_at(path, PAIR)
    assert rows.left.values == ["é", "two"]
    assert [content_of(found) for found in rows.right.values] == [PNG, PNG + b"2"]
    labelled = archive(tmp_path, ("1.png", PNG), ("1.cls", b"3\n"), name="l.tar")
    assert read_at(labelled, IMAGE).labels == ["3"]
    by_json = archive(tmp_path, ("1.png", PNG), ("1.json", b'{"caption": "c"}'), name="j.tar")
    assert read_at(by_json, PAIR).left.values == ["c"]


def test_webdataset_in_several_archives(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in (2, 1):
        text = ("7.txt", f"{number}".encode())
        archive(folder, ("7.jpg", PNG), text, name=f"shard-{number:05}.tar")
    assert read_at(folder, PAIR).left.values == ["1", "2"]
    archive(folder, ("8.jpg", PNG), name="shard-00003.tar")
    message = refused_at(folder, PAIR)
    assert "shard-00003.tar, row 1: the sample 8 has no 'text', as the first one has" in message


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "no rows: the archive is empty"),
        ([("1.jpg", PNG), ("1.png", PNG)], "1.png gives 'image', which the sample has"),
        ([("1.jpg", PNG), ("1.txt", b"\xff")], "1.txt is not utf-8"),
        ([("1.jpg", PNG), ("1.json", b"[1]")], "1.json holds no object"),
    ],
)
def test_webdataset_that_is_wrong(tmp_path, members, said):
    assert said in refused_at(archive(tmp_path, *members), PAIR)


def test_folders_that_say_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no data files" in refused_at(tmp_path / "empty")
    lines(tmp_path / "empty", *RECORDS)
    parquet(tmp_path / "empty", {"a": [1]})
    assert "holds files of parquet and jsonl; set the format" in refused_at(tmp_path / "empty")
    assert len(read_at(tmp_path / "empty", format="jsonl")) == 2


def test_an_ending_that_says_nothing(tmp_path):
    path = lines(tmp_path, *RECORDS, name="train")
    assert "spec.data.train.format: cannot be told from the name" in refused_at(path)
    assert len(read_at(path, format="jsonl")) == 2
