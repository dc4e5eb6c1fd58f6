"""What the trainer's tests share: real S3 servers, and a tiny model with data that it can learn."""

import json
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
import urllib3
from minio import Minio

from localcluster.tools import existing
from tests.trainer import tiny

ACCESS_KEY, SECRET_KEY = "tester", "tester-secret-key"
BUCKET = "tests"
LOCAL = "127.0.0.1"


@dataclass
class S3:
    """A place of one test's own on a running S3 server."""

    endpoint: str
    client: Minio
    prefix: str

    @property
    def env(self) -> dict[str, str]:
        """The variables that a Secret and the chart give to a pod."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def uri(self, key: str) -> str:
        """The URI of a key in this place."""
        return f"s3://{BUCKET}/{self.prefix}/{key}"

    def put(self, key: str, data: bytes) -> str:
        """Write an object; returns its URI."""
        self.client.put_object(BUCKET, f"{self.prefix}/{key}", BytesIO(data), len(data))
        return self.uri(key)

    def put_folder(self, prefix: str, folder: Path) -> str:
        """Upload a folder; returns its URI."""
        for path in (path for path in folder.rglob("*") if path.is_file()):
            self.put(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
        return self.uri(prefix)

    def names(self, folder: str) -> dict[str, int]:
        """Sizes of the objects in a folder by their names."""
        prefix = f"{self.prefix}/{folder}/"
        found = self.client.list_objects(BUCKET, prefix=prefix, recursive=True)
        return {(o.object_name or "").removeprefix(prefix): o.size or 0 for o in found}


def _weed(folder: Path) -> tuple[list[str], int]:
    """SeaweedFS's S3 server, from PyPI."""
    identity = {
        "name": "tester",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "identities.json"
    config.write_text(json.dumps({"identities": [identity]}))
    data = folder / "data"
    data.mkdir()
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    ports = dict(zip((*names, *(f"{name}.grpc" for name in names)), free_ports(8), strict=True))
    flags = {
        **ports,
        "dir": data,
        "ip": LOCAL,
        "ip.bind": LOCAL,
        "s3.config": config,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "volume.max": 8,
        "master.volumeSizeLimitMB": 64,
        "master.telemetry": "false",
    }
    program = str(Path(sys.executable).parent / "weed")
    command = [program, "server", "-filer", "-s3", *(f"-{k}={v}" for k, v in flags.items())]
    return command, ports["s3.port"]


def _minio(folder: Path) -> tuple[list[str], int]:
    """MinIO, as the demo's cluster runs it."""
    program = existing("minio")
    if program is None:
        pytest.skip("MinIO is not built yet: python -m localcluster build")
    port, console = free_ports(2)
    command = [str(program), "server", str(folder / "data"), "--address", f"{LOCAL}:{port}"]
    return [*command, "--console-address", f"{LOCAL}:{console}"], port


def free_ports(count: int) -> list[int]:
    """Ports below those that the kernel gives to outgoing connections, which would take them."""
    free: list[int] = []
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            if len(free) < count and probe.connect_ex((LOCAL, port)):
                free.append(port)
    return free


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[str]:
    """The endpoint of a running S3 server that knows the tester."""
    command, port = (_weed if kind == "seaweedfs" else _minio)(folder)
    credentials = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **credentials}, cwd=folder
        )
    try:
        endpoint = f"http://{LOCAL}:{port}"
        _wait_until_it_stores(_client(endpoint), process, folder / "log")
        yield endpoint
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The endpoint of the server of a kind, which is started once, when it is asked for."""
    with ExitStack() as running:
        yield cache(
            lambda kind: running.enter_context(_server(kind, tmp_path_factory.mktemp(kind)))
        )


@pytest.fixture(scope="session", params=["seaweedfs", "minio"])
def s3_endpoint(request: pytest.FixtureRequest, s3_servers: Callable[[str], str]) -> str:
    """Each server's endpoint."""
    return s3_servers(request.param)


@pytest.fixture
def s3(s3_endpoint: str) -> S3:
    """An empty place on each server."""
    return S3(s3_endpoint, _client(s3_endpoint), uuid.uuid4().hex[:12])


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny BERT."""
    return tiny.backbone(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """A service that takes connections and never says a word."""
    with socket.create_server((LOCAL, 0)) as server:
        yield f"http://{LOCAL}:{server.getsockname()[1]}"


def _client(endpoint: str) -> Minio:
    http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=2, read=10), retries=False)
    return Minio(
        endpoint.removeprefix("http://"),
        ACCESS_KEY,
        SECRET_KEY,
        secure=False,
        region="us-east-1",
        http_client=http,
    )


def _wait_until_it_stores(client: Minio, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if not client.bucket_exists(BUCKET):
                client.make_bucket(BUCKET)
            client.put_object(BUCKET, "ready", BytesIO(b"x"), 1)
        except Exception:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the S3 server does not come up:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        else:
            return
