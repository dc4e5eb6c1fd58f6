"""Files from the web: what is taken, what is not, and that no name leads into the cluster."""

import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from embedtune_api.contract import ENV_ALLOW_PRIVATE
from embedtune_trainer.errors import BadData, SourceNotFound, StorageUnavailable
from embedtune_trainer.sources import web
from embedtune_trainer.sources.web import Limits, Web, is_public


class Handler(BaseHTTPRequestHandler):
    """Answers by the path."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012  one list for all requests is meant

    def do_GET(self):
        self.asked.append((self.path, self.headers["Host"]))
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        status = int(self.path.removeprefix("/status/")) if "status" in self.path else 200
        self.send_response(status)
        if self.path == "/announced":
            self.send_header("Content-Length", "5000")
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        body = b"x" * 5000 if self.path == "/large" else b"" if self.path == "/empty" else b"image"
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv(ENV_ALLOW_PRIVATE, "1")
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def small() -> Web:
    return Web(Limits(size_bytes=1000, connect_s=2, read_s=2, tries=2, wait_s=0))


def test_a_file_is_taken(server, tmp_path):
    found = small().fetch_file(f"{server}/a%20b.png?v=1&w=%2F", tmp_path / "x" / "y")
    assert found.read_bytes() == b"image"
    assert Handler.asked == [("/a%20b.png?v=1&w=%2F", server.removeprefix("http://"))]


def test_redirects_are_followed(server, tmp_path):
    url = f"{server}/to//to/{server}/a.png"
    assert small().fetch_file(url, tmp_path / "y").read_bytes() == b"image"


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/status/404", SourceNotFound, "the server answers HTTP 404"),
        ("/status/403", SourceNotFound, "the server answers HTTP 403"),
        ("/empty", SourceNotFound, "the server sends nothing"),
        ("/announced", BadData, "5000 bytes, more than the 1000"),
        ("/large", BadData, "more than the 1000 bytes"),
        ("/packed", BadData, "the server compresses it"),
        ("/to/" * 7 + "/a.png", BadData, "redirects more than 5 times"),
        ("/to/file:///etc/passwd", BadData, "file:///etc/passwd: is not a URL such as"),
        ("/status/503", StorageUnavailable, "the server answers HTTP 503"),
    ],
)
def test_what_is_not_taken(server, tmp_path, path, kind, said):
    with pytest.raises(kind, match=said):
        small().fetch_file(server + path, tmp_path / "y")
    assert list(tmp_path.iterdir()) == []
    tries = 2 if kind is StorageUnavailable else 1
    assert [path for path, _ in Handler.asked].count(path) == tries


def test_a_server_that_says_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv(ENV_ALLOW_PRIVATE, "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.png"
        quick = Web(Limits(read_s=0.05, tries=1))
        with pytest.raises(StorageUnavailable, match="does not answer in time"):
            quick.fetch_file(url, tmp_path / "y")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.96.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_addresses_that_are(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://localhost/a.png",
        "http://2130706433/a.png",
        "http://0x7f.1/a.png",
        "https://[::1]/a.png",
        "http://user@127.0.0.1/a.png",
    ],
)
def test_private_addresses_are_refused(url, tmp_path, monkeypatch):
    monkeypatch.delenv(ENV_ALLOW_PRIVATE, raising=False)
    with pytest.raises(BadData, match="is not a public address"):
        small().fetch_file(url, tmp_path / "y")


def answers(*addresses: str):
    """A name server that says these, one after the other."""
    left = list(addresses)
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        if host != "images.example":
            return real(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (left.pop(0), port))]

    return getaddrinfo


def test_a_redirect_into_the_cluster_is_refused(server, tmp_path, monkeypatch):
    """The first server counts as public here; where it leads to is judged anew."""
    monkeypatch.delenv(ENV_ALLOW_PRIVATE)
    monkeypatch.setattr(web, "is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(BadData, match=r"169\.254\.169\.254, which is not a public address"):
        small().fetch_file(f"{server}/to/http://169.254.169.254/secret", tmp_path / "y")


def test_a_name_that_changes_its_address_gets_nowhere(server, tmp_path, monkeypatch):
    """The connection goes to the address that was judged: the second answer is never asked for."""
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.1"))
    port = server.rpartition(":")[2]
    found = small().fetch_file(f"http://images.example:{port}/a.png", tmp_path / "y")
    assert found.read_bytes() == b"image"
    assert Handler.asked == [("/a.png", f"images.example:{port}")]


@pytest.fixture
def certificate(tmp_path):
    """The key of images.example; its certificate lies beside it as .crt."""
    file = tmp_path / "images.example.pem"
    made = ("-keyout", file, "-out", file.with_suffix(".crt"), "-days", "2", "-nodes")
    named = ("-subj", "/CN=images.example", "-addext", "subjectAltName=DNS:images.example")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", *made, *named)
    subprocess.run(command, check=True, capture_output=True)
    return file


@pytest.mark.parametrize("name", ["images.example", "127.0.0.1"])
def test_over_tls_the_server_proves_the_name(name, certificate, tmp_path, monkeypatch):
    """The connection goes to an address, but it is the name that has to be in the certificate."""
    monkeypatch.setenv(ENV_ALLOW_PRIVATE, "1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.1"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.with_suffix(".crt"), certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.socket = tls.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"https://{name}:{running.server_port}/a.png"
        if name == "images.example":
            assert small().fetch_file(url, tmp_path / "y").read_bytes() == b"image"
        else:
            with pytest.raises(BadData, match="no trusted connection"):
                small().fetch_file(url, tmp_path / "y")
        running.shutdown()


def test_a_name_without_an_address(tmp_path):
    with pytest.raises(SourceNotFound, match=r"the name nowhere\.invalid cannot be resolved"):
        small().fetch_file("https://nowhere.invalid/a.png", tmp_path / "y")


@pytest.mark.parametrize("url", ["https://", "https:///a.png", "http://[::1/a", "http://a:99999/"])
def test_urls_that_are_none(url, tmp_path):
    with pytest.raises(BadData, match="is not a URL such as"):
        small().fetch_file(url, tmp_path / "y")
