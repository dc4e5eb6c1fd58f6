"""Fetching and publishing, on real S3 servers and on the file system."""

import socket
import threading
import time
from pathlib import Path
from threading import Event, Timer

import pytest
import urllib3
from minio import Minio

from embedtune_api.contract import MANIFEST
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.errors import (
    AccessDenied,
    BadData,
    BadSpec,
    Interrupted,
    SourceNotFound,
    StorageUnavailable,
)
from embedtune_trainer.sources import s3 as s3_module
from embedtune_trainer.sources.storage import (
    Patience,
    RetryPolicy,
    Storage,
    file_path,
    open_storage,
)
from tests.trainer.conftest import S3

QUICK = RetryPolicy(give_up_after_s=1.0, first_wait_s=0.05)


def opened(env: dict[str, str], endpoint: str | None = None) -> Storage:
    return open_storage(StorageSpec(endpoint=endpoint), Event(), QUICK, env)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "1_Pooling" / "config.json").write_text('{"a": 1}')
    (folder / "empty").touch()
    (folder / "weights").write_bytes(bytes(range(256)) * 80_000)  # 20 MB: three parts
    (folder / MANIFEST).write_text("manifest")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_published_can_be_fetched(s3: S3, model: Path, tmp_path: Path) -> None:
    store = opened(s3.env)
    uri = s3.uri("tuned/ns/name/uid/")
    store.prepare(uri)
    assert list(s3.names("tuned/ns/name/uid")) == ["README.md"]
    store.publish(model, uri)
    fetched = store.fetch_folder(uri, tmp_path / "fetched")
    assert contents(fetched) == contents(model)
    one = store.fetch_file(uri + "weights", tmp_path / "one" / "weights")
    assert one.read_bytes() == (model / "weights").read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_a_retry_replaces_what_is_there(s3: S3, model: Path) -> None:
    store = opened(s3.env)
    for key in ("m/left-over", "m/config.json", f"m/{MANIFEST}"):
        s3.put(key, b"of an earlier attempt")
    store.prepare(s3.uri("m"))
    assert "README.md" not in s3.names("m")  # a model is there, so its files are left alone
    store.publish(model, s3.uri("m"))
    assert s3.names("m") == {name: len(data) for name, data in contents(model).items()}


def test_the_manifest_goes_first_and_comes_last(
    s3: S3, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(s3.env)
    s3.put(f"m/{MANIFEST}", b"of an earlier attempt")
    upload = s3_module.S3Store._upload
    seen = []

    def watched(self: s3_module.S3Store, uri: str, bucket: str, key: str, source: Path) -> None:
        seen.append((source.name, MANIFEST in s3.names("m")))
        upload(self, uri, bucket, key, source)

    monkeypatch.setattr(s3_module.S3Store, "_upload", watched)
    store.publish(model, s3.uri("m"))
    assert seen[-1][0] == MANIFEST
    assert not any(there for _, there in seen)


def test_missing_things_are_named(s3: S3, tmp_path: Path) -> None:
    store = opened(s3.env)
    with pytest.raises(SourceNotFound, match=r"^s3://\S+/nothing.csv: .* no such object"):
        store.fetch_file(s3.uri("nothing.csv"), tmp_path / "x")
    with pytest.raises(SourceNotFound, match=r"^s3://\S+/nothing: there are no objects under"):
        store.fetch_folder(s3.uri("nothing"), tmp_path / "x")
    for action in (
        lambda: store.fetch_file("s3://no-such-bucket/a", tmp_path / "x"),
        lambda: store.fetch_folder("s3://no-such-bucket/a", tmp_path / "x"),
        lambda: store.prepare("s3://no-such-bucket/a"),
    ):
        with pytest.raises(SourceNotFound, match=r"^s3://no-such-bucket/a: .* no such bucket"):
            action()


def test_a_folder_is_not_its_neighbour(s3: S3, tmp_path: Path) -> None:
    s3.put("base-2/config.json", b"{}")
    with pytest.raises(SourceNotFound):
        opened(s3.env).fetch_folder(s3.uri("base"), tmp_path / "x")


@pytest.mark.parametrize(
    "change",
    [
        {"AWS_SECRET_ACCESS_KEY": "wrong"},
        {"AWS_ACCESS_KEY_ID": "nobody"},
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    ],
)
def test_wrong_credentials(s3: S3, tmp_path: Path, change: dict[str, str]) -> None:
    uri = s3.put("data.csv", b"text,label")
    store = opened(s3.env | change)
    advice = r"secretRef" if change.get("AWS_ACCESS_KEY_ID") != "" else r"no credentials are set"
    for action in (
        lambda: store.fetch_file(uri, tmp_path / "x"),
        lambda: store.fetch_folder(uri, tmp_path / "x"),
        lambda: store.prepare(uri),
    ):
        with pytest.raises(AccessDenied, match=rf"^s3://\S+/data.csv: http://\S+ .*{advice}"):
            action()


def test_half_a_key_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    store = opened({"AWS_ACCESS_KEY_ID": "a", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    with pytest.raises(AccessDenied, match="AWS_SECRET_ACCESS_KEY go together"):
        store.fetch_file("s3://bucket/a", tmp_path / "x")


def test_the_spec_goes_before_the_environment(s3: S3, tmp_path: Path) -> None:
    uri = s3.put("a", b"b")
    env = s3.env | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    assert opened(env, endpoint=s3.endpoint).fetch_file(uri, tmp_path / "x").read_bytes() == b"b"


@pytest.mark.parametrize("endpoint", ["ftp://x", "http://x/path", "minio:9000"])
def test_an_endpoint_that_is_none(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match=r"AWS_ENDPOINT_URL: .* is not a URL such as"):
        opened({"AWS_ENDPOINT_URL": endpoint}).fetch_file("s3://bucket/a", tmp_path / "x")


def test_nobody_listens(tmp_path: Path) -> None:
    began = time.monotonic()
    store = opened({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    with pytest.raises(StorageUnavailable) as raised:
        store.fetch_file("s3://bucket/a", tmp_path / "x")
    assert str(raised.value).startswith(
        "s3://bucket/a: http://127.0.0.1:1 (from AWS_ENDPOINT_URL) does not answer:"
        " no connection can be made; check the endpoint, and whether the service runs (gave up"
    )
    assert 0.5 < time.monotonic() - began < 3


def test_a_silent_service(
    silent_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "READ_TIMEOUT_S", 0.4)
    store = opened({}, endpoint=silent_endpoint)
    with pytest.raises(StorageUnavailable, match=r"spec.storage.endpoint\) does not answer: it s"):
        store.fetch_file("s3://bucket/a", tmp_path / "x")


def test_by_default_a_minute_is_the_limit() -> None:
    """A service that takes connections and says nothing gets two tries of 30 s."""
    now = 0.0
    patience = Patience(RetryPolicy(), Event(), clock=lambda: now)
    now = s3_module.READ_TIMEOUT_S
    patience.wait_or_raise("s3://bucket/a", "why")
    now += s3_module.READ_TIMEOUT_S
    with pytest.raises(StorageUnavailable, match=r"why \(gave up after 2 tries in 60 s\)"):
        patience.wait_or_raise("s3://bucket/a", "why")


@pytest.mark.slow
def test_a_model_is_waited_for_longer_than_what_can_be_fetched_again(
    s3: S3, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, put = time.monotonic(), Minio.fput_object

    def away(self: Minio, *arguments: object, **more: object) -> object:
        if time.monotonic() - began < 2 * QUICK.give_up_after_s:
            raise urllib3.exceptions.ProtocolError("the service is away")
        return put(self, *arguments, **more)

    monkeypatch.setattr(Minio, "fput_object", away)
    store = opened(s3.env)
    with pytest.raises(StorageUnavailable, match="the service is away"):
        store.put_folder(model, s3.uri("checkpoint"), MANIFEST)
    store.publish(model, s3.uri("m"))
    assert s3.names("m") == {name: len(data) for name, data in contents(model).items()}


def test_stopping_ends_the_waiting(tmp_path: Path) -> None:
    stop = Event()
    store = open_storage(
        StorageSpec(endpoint="http://127.0.0.1:1"), stop, RetryPolicy(first_wait_s=30), {}
    )
    Timer(0.2, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        store.fetch_file("s3://bucket/a", tmp_path / "x")
    assert time.monotonic() - began < 2


def test_a_service_that_comes_back_is_used(tmp_path: Path) -> None:
    data = bytes(100_000) + b"end"
    whole = answer("200 OK", data)
    busy = answer("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>", "application/xml")
    with Answering(busy, b"", whole[:50_000], answer("500 Oops", b"no"), whole) as endpoint:
        store = opened({}, endpoint=endpoint)
        assert store.fetch_file("s3://bucket/a", tmp_path / "x").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_names_that_lead_out_are_refused(tmp_path: Path) -> None:
    """The usual servers refuse such names; nobody says that all do."""
    listing = b"""<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b-1</Name>
        <Contents>
        <Key>base/../../evil</Key><Size>1</Size></Contents></ListBucketResult>"""
    with (
        Answering(answer("200 OK", listing, "application/xml")) as endpoint,
        pytest.raises(BadData, match=r"s3://b-1/base: the object '../../evil' leads out of its f"),
    ):
        opened({}, endpoint=endpoint).fetch_folder("s3://b-1/base", tmp_path / "x")
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a\\..\\evil", "a\0b"])
def test_no_name_leads_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="leads out"):
        s3_module._inside(tmp_path, name, "s3://b/base")


def test_another_service_than_s3_is_told(tmp_path: Path) -> None:
    with (
        Answering(answer("404 Not Found", b"no", "text/html")) as endpoint,
        pytest.raises(BadSpec, match="is it an S3 service"),
    ):
        opened({}, endpoint=endpoint).fetch_file("s3://bucket/a", tmp_path / "x")
    with (
        Answering(answer("200 OK", b"<html>Hello", "text/html")) as endpoint,
        pytest.raises(BadSpec, match="is it an S3 service"),
    ):
        opened({}, endpoint=endpoint).fetch_folder("s3://bucket/a", tmp_path / "x")


def test_files_are_used_where_they_lie(tmp_path: Path) -> None:
    store = opened({})
    data = tmp_path / "a b.csv"
    data.write_text("x")
    assert store.fetch_file(f"file://{tmp_path}/a%20b.csv", tmp_path / "t") == data
    assert store.fetch_folder(f"file://{tmp_path}", tmp_path / "t") == tmp_path
    assert not (tmp_path / "t").exists()


def test_file_errors_are_named(tmp_path: Path) -> None:
    store = opened({})
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for uri, words in {
        f"file://{tmp_path}/none": "no such file",
        f"file://{tmp_path}/empty": "is a folder",
    }.items():
        with pytest.raises(SourceNotFound, match=words):
            store.fetch_file(uri, tmp_path / "x")
    for uri, words in {
        f"file://{tmp_path}/none": "no such file",
        f"file://{tmp_path}/empty": "is empty",
        f"file://{tmp_path}/file": "is a file",
    }.items():
        with pytest.raises(SourceNotFound, match=words):
            store.fetch_folder(uri, tmp_path / "x")
    with pytest.raises(BadSpec, match=r"absolute path: file:///data/x\.csv"):
        file_path("file://data/x.csv")
    with pytest.raises(BadSpec, match="no storage for gs://"):
        store.fetch_folder("gs://a/b", tmp_path / "x")


def test_a_folder_is_published_whole_or_not_at_all(model: Path, tmp_path: Path) -> None:
    store = opened({})
    uri = f"file://{tmp_path}/out/ns/name/uid/"
    store.prepare(uri)
    store.publish(model, uri)
    (model / "empty").unlink()
    (tmp_path / "out/ns/name/.uid.killed.part").mkdir()
    store.prepare(uri)
    store.publish(model, uri)
    assert contents(tmp_path / "out/ns/name/uid") == contents(model)
    assert [path.name for path in (tmp_path / "out/ns/name").iterdir()] == ["uid"]


def answer(status: str, body: bytes, content_type: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return f"{head}\r\nConnection: close\r\n\r\n".encode() + body


class Answering:
    """A server that gives each connection the next of some answers; the last one is repeated."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)

    def __enter__(self) -> str:
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._answers[0])
                del self._answers[: len(self._answers) > 1]
