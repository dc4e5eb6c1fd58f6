"""Images from cells: where they may lie, what is downloaded, what is refused."""

import base64
from pathlib import Path
from threading import Event

import pytest

from embedtune_api.spec import Dataset, Storage
from embedtune_trainer.errors import AccessDenied, BadData, SourceNotFound, StorageUnavailable
from embedtune_trainer.rows.images import ImageFetcher
from embedtune_trainer.rows.read import read_rows
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from tests.trainer.rows.reading import IMAGE, URI, read, read_at, refused, refused_at

PNG = b"\x89PNG\r\n\x1a\n"
HERE = "file:///data/train.csv"


class Shelf:
    """A store that holds what it is given, and remembers what was asked of it."""

    def __init__(self, files: dict[str, bytes | Exception]) -> None:
        self.files = files
        self.asked: list[str] = []

    def fetch_file(self, uri: str, target: Path) -> Path:
        self.asked.append(uri)
        found = self.files.get(uri, SourceNotFound(f"{uri}: there is no such object"))
        if isinstance(found, Exception):
            raise found
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(found)
        return target


def fetcher(tmp_path, **files) -> tuple[Shelf, ImageFetcher]:
    shelf = Shelf({f"s3://b/{name}.png": content for name, content in files.items()})
    return shelf, ImageFetcher(tmp_path / "work", shelf)


def test_paths_start_at_the_data_file(tmp_path, monkeypatch):
    """D15: relative paths led to the current folder."""
    for folder in ("data", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(folder.encode())
    monkeypatch.chdir(tmp_path / "elsewhere")
    csv = tmp_path / "data" / "train.csv"
    csv.write_text("a.png,x\n../elsewhere/a.png,y\n")
    assert [v.read_bytes() for v in read_at(csv, IMAGE).items.values] == [b"data", b"elsewhere"]


def test_a_missing_image_in_a_folder_that_can_be_written_to(tmp_path):
    """D15: docarray took it for one that was yet to come."""
    message = refused(tmp_path, "b.png,x\n", uri=HERE, want=IMAGE)
    assert message.startswith(f"{HERE}: row 1, column 1 (item): there is no image {tmp_path}/b.png")


def test_file_uris_and_data_uris(tmp_path):
    (tmp_path / "a b.png").write_bytes(PNG)
    data = "data:image/png;base64," + base64.b64encode(PNG).decode()
    content = f'{tmp_path.as_uri()}/a%20b.png,x\n"{data}",y\n'
    rows = read(tmp_path, content, uri=HERE, want=IMAGE)
    assert rows.items.values == [tmp_path / "a b.png", PNG]
    assert rows.items.names[1] == f"{HERE}: row 2, column 1 (item): {data}"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("data:text/plain,hello", "is no image; such a cell begins with data:image/png;base64,"),
        ('"data:image/png;base64,?"', "is no image"),
        ('"data:image/png;base64,"', "is no image"),
        ("ftp://x/a.png", "images come from file, s3, http, https"),
        ("s3://b/a.png", "nothing is downloaded here"),
        ("x" * 5000, "there is no image"),
    ],
)
def test_cells_that_are_no_images(tmp_path, cell, said):
    cell = cell if cell.startswith('"') else f'"{cell}"'
    assert said in refused(tmp_path, f"{cell},x\n", uri=HERE, want=IMAGE)


def test_each_uri_is_fetched_once(tmp_path):
    shelf, fetch = fetcher(tmp_path, a=b"1", c=b"2")
    content = "s3://b/a.png,x\ns3://b/c.png,y\ns3://b/a.png,y\n"
    rows = read(tmp_path, content, uri=HERE, want=IMAGE, fetch=fetch)
    assert [path.read_bytes() for path in rows.items.values] == [b"1", b"2", b"1"]
    read(tmp_path, content, uri=HERE, want=IMAGE, fetch=fetch)
    assert sorted(shelf.asked) == ["s3://b/a.png", "s3://b/c.png"]


def test_paths_in_a_file_from_s3_are_beside_it_there(tmp_path):
    shelf = Shelf({"s3://data/a.png": b"1", "s3://data/x/b.png": b"2"})
    fetch = ImageFetcher(tmp_path / "work", shelf)
    rows = read(tmp_path, "a.png,x\n./x/b.png,y\n", uri=URI, want=IMAGE, fetch=fetch)
    assert [path.read_bytes() for path in rows.items.values] == [b"1", b"2"]


def test_paths_in_a_folder_from_s3_are_in_the_folder(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "train.csv").write_text("a.png,x\n")
    shelf = Shelf({})
    fetch = ImageFetcher(tmp_path / ".work", shelf)
    rows = read_rows(tmp_path, Dataset.parse({"uri": "s3://data/all"}), IMAGE, fetch=fetch)
    assert (rows.items.values, shelf.asked) == ([tmp_path / "a.png"], [])


def test_what_cannot_be_fetched_names_its_row(tmp_path):
    _, fetch = fetcher(tmp_path, a=b"1")
    with pytest.raises(
        BadData, match=r"row 2, column 1 \(item\): the image cannot be had: s3://b/"
    ):
        read(tmp_path, "s3://b/a.png,x\ns3://b/b.png,x\n", uri=HERE, want=IMAGE, fetch=fetch)


def test_a_store_that_is_away_may_come_back(tmp_path):
    _, fetch = fetcher(tmp_path, a=StorageUnavailable("s3://b/a.png: away"))
    with pytest.raises(StorageUnavailable, match="row 1, column 1"):
        read(tmp_path, "s3://b/a.png,x\n", uri=HERE, want=IMAGE, fetch=fetch)


def test_refused_credentials_end_it(tmp_path):
    _, fetch = fetcher(tmp_path, a=AccessDenied("s3://b/a.png: no"))
    with pytest.raises(AccessDenied):
        read(tmp_path, "s3://b/a.png,x\n", uri=HERE, want=IMAGE, fetch=fetch)


def test_missing_images_are_skipped(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    content = "a.png,x\n" * 150 + "b.png,y\n"
    rows = read(tmp_path, content, uri=HERE, want=IMAGE, onBadRow="skip")
    assert (len(rows), rows.skipped.count, set(rows.labels)) == (150, 1, {"x"})
    assert "there is no image" in rows.skipped.first[0]


def test_bytes_move_out_of_memory_and_stay_equal(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"image": [b"one", b"two!", b"one"], "label": ["x", "y", "y"]}), path)
    _, fetch = fetcher(tmp_path)
    rows = read_rows(path, Dataset.parse({"uri": path.as_uri()}), IMAGE, fetch=fetch)
    first, second, third = rows.items.values
    assert first == third
    assert [v.path.read_bytes()[v.offset :][: v.size] for v in (first, second)] == [b"one", b"two!"]


def test_text_where_an_image_is_wanted(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"image": 5, "label": 1}\n')
    assert "column image: a number where an image is wanted" in refused_at(path, IMAGE)


def test_many_images_from_s3_at_once(tmp_path, s3):
    """Real servers, several threads, one client."""
    uris = [s3.put(f"img/{n}.png", PNG + bytes([n])) for n in range(40)]
    table = s3.uri("img/train.csv")
    store = open_storage(Storage(), Event(), RetryPolicy(), s3.env)
    content = "".join(f"{n}.png,x\n" for n in range(40)) + f"{uris[0]},y\n"
    fetch = ImageFetcher(tmp_path / "work", store)
    rows = read(tmp_path, content, uri=table, want=IMAGE, fetch=fetch)
    assert [path.read_bytes()[-1] for path in rows.items.values] == [*range(40), 0]
    assert len([p for p in (tmp_path / "work").rglob("*") if p.is_file()]) == 40
    with pytest.raises(BadData, match=r"row 2, column .*no such object"):
        read(tmp_path, "0.png,x\n40.png,y\n", uri=table, want=IMAGE, fetch=fetch)
