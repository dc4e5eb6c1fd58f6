"""S3 and what speaks like it, by the `minio` package.

Retries are made here, not in urllib3, so that all of them are bounded together and end at once
when the run is told to stop. Nothing beyond plain S3 is used: GetObject, ListObjectsV2,
PutObject (in parts above PART_BYTES) and DeleteObject.
"""

import copy
import io
import logging
import ssl
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TypeVar
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.error import MinioException

from embedtune_api import contract
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.errors import (
    AccessDenied,
    BadData,
    BadSpec,
    RetryableError,
    SourceNotFound,
    StorageUnavailable,
)
from embedtune_trainer.sources.s3_errors import Service, not_s3, passing_reason
from embedtune_trainer.sources.storage import (
    NOT_YET,
    Patience,
    RetryPolicy,
    folder_files,
    without_manifest,
)

log = logging.getLogger(__name__)

AWS = "https://s3.amazonaws.com"
DEFAULT_REGION = "us-east-1"
CONNECT_TIMEOUT_S = 15.0
"""Seconds. Also the time that one part has to be sent in, since a socket keeps it for sending."""
READ_TIMEOUT_S = 30.0
"""Seconds between two pieces of an answer."""
PART_BYTES = 8 * 2**20
CHUNK_BYTES = 2**20
PUBLISHING = 10
"""Times the patience, for what took hours to make and cannot be fetched again."""
README = "README.md"

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Connection:
    """A client, and what its service is."""

    client: Minio
    service: Service


def connect(spec: StorageSpec, environ: Mapping[str, str]) -> Connection:
    """A client for the job's S3 service; nothing is sent yet.

    Raises:
        BadSpec: the endpoint is not a URL of a service.
        AccessDenied: only half of a key is set.
    """
    if spec.endpoint:
        endpoint, endpoint_from = spec.endpoint, "spec.storage.endpoint"
    elif environ.get(contract.ENV_ENDPOINT):
        endpoint, endpoint_from = environ[contract.ENV_ENDPOINT], contract.ENV_ENDPOINT
    else:
        endpoint, endpoint_from = AWS, "the default"
    region = spec.region or environ.get(contract.ENV_REGION) or DEFAULT_REGION
    access_key = environ.get(contract.ENV_ACCESS_KEY) or None
    secret_key = environ.get(contract.ENV_SECRET_KEY) or None
    if (access_key is None) != (secret_key is None):
        raise AccessDenied(
            f"{contract.ENV_ACCESS_KEY} and {contract.ENV_SECRET_KEY} go together, only one is set"
        )
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
        raise BadSpec(f"{endpoint_from}: {endpoint} is not a URL such as https://s3.example.com")
    try:
        client = Minio(
            url.netloc,
            access_key=access_key,
            secret_key=secret_key,
            session_token=environ.get(contract.ENV_SESSION_TOKEN) or None,
            secure=url.scheme == "https",
            region=region,
            http_client=_http_client(),
        )
    except ValueError as error:
        raise BadSpec(f"{endpoint_from}: {endpoint}: {error}") from None
    service = Service(endpoint, endpoint_from, region, anonymous=access_key is None)
    return Connection(client, service)


def _http_client() -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        retries=False,
        maxsize=8,
        ssl_context=ssl.create_default_context(),
    )


class S3Store:
    """s3:// URIs on one service; see `storage.Store`."""

    def __init__(self, connection: Connection, policy: RetryPolicy, stop: Event) -> None:
        self._client = connection.client
        self._service = connection.service
        self._policy = policy
        self._stop = stop

    def fetch_file(self, uri: str, target: Path) -> Path:
        """See Store."""
        bucket, key = split_uri(uri)
        if not key or key.endswith("/"):
            raise SourceNotFound(f"{uri}: names no object, a file is wanted")
        self._download(uri, bucket, key, target)
        return target

    def fetch_folder(self, uri: str, target: Path, names: Collection[str] | None = None) -> Path:
        """See Store."""
        bucket, prefix = split_prefix(uri)
        sizes = self._sizes(uri, bucket, prefix)
        if not sizes:
            raise SourceNotFound(
                f"{uri}: there are no objects under this prefix; check its spelling"
            )
        if names is not None:
            sizes = {n: size for n, size in sizes.items() if PurePosixPath(n).name in names}
            target.mkdir(parents=True, exist_ok=True)
        for name in sizes:
            local = _inside(target, name, uri)
            self._download(f"s3://{bucket}/{prefix}{name}", bucket, prefix + name, local)
        log.info("fetched uri=%s files=%d bytes=%d", uri, len(sizes), sum(sizes.values()))
        return target

    def prepare(self, uri: str) -> None:
        """See Store; unless a model is there, a README.md that says so is written as a probe."""
        bucket, prefix = split_prefix(uri)
        if contract.MANIFEST not in self._sizes(uri, bucket, prefix):
            data = NOT_YET.encode()
            self._trying(uri, lambda _: self._put(bucket, prefix + README, data))

    def publish(self, folder: Path, uri: str) -> None:
        """See Store; sizes are compared with the service's own listing before the manifest.

        A service that is away is waited for PUBLISHING times as long as in any other operation.
        """
        longer = copy.copy(self)
        patience_s = PUBLISHING * self._policy.give_up_after_s
        longer._policy = replace(self._policy, give_up_after_s=patience_s)
        longer._publish(folder, uri)

    def _publish(self, folder: Path, uri: str) -> None:
        bucket, prefix = split_prefix(uri)
        if contract.MANIFEST in self._sizes(uri, bucket, prefix):
            self._remove(uri, bucket, [prefix + contract.MANIFEST])
        files = without_manifest(folder_files(folder))
        there = self._put_all(files, uri)
        kept = f"{contract.CHECKPOINTS}/"
        old = [name for name in there if name not in files and not name.startswith(kept)]
        self._remove(uri, bucket, [prefix + name for name in old])
        self._upload_into(uri, contract.MANIFEST, folder / contract.MANIFEST)
        try:
            self._remove(uri, bucket, [prefix + name for name in there if name.startswith(kept)])
        except (RetryableError, AccessDenied) as error:
            log.warning("checkpoints are left, remove uri=%s%s why=%r", uri, kept, str(error))

    def sizes(self, uri: str) -> dict[str, int]:
        """See Store."""
        return self._sizes(uri, *split_prefix(uri))

    def put_folder(self, folder: Path, uri: str, last: str) -> None:
        """See Store; sizes are compared with the service's own listing before the last file."""
        files = folder_files(folder)
        final = files.pop(last)
        self._put_all(files, uri)
        self._upload_into(uri, last, final)

    def remove_folder(self, uri: str, first: str) -> None:
        """See Store."""
        bucket, prefix = split_prefix(uri)
        names = sorted(self._sizes(uri, bucket, prefix), key=lambda name: name != first)
        self._remove(uri, bucket, [prefix + name for name in names])

    def _put_all(self, files: Mapping[str, Path], uri: str) -> dict[str, int]:
        """Upload these; returns what is there then, by name."""
        for name, path in files.items():
            self._upload_into(uri, name, path)
        there = self.sizes(uri)
        for name, path in files.items():
            if there.get(name) != path.stat().st_size:
                raise StorageUnavailable(
                    f"{uri}{name}: {path.stat().st_size} bytes were written,"
                    f" {there.get(name, 'none')} are there: something else writes to this prefix"
                )
        return there

    def _upload_into(self, uri: str, name: str, path: Path) -> None:
        bucket, prefix = split_prefix(uri)
        self._upload(f"s3://{bucket}/{prefix}{name}", bucket, prefix + name, path)

    def _sizes(self, uri: str, bucket: str, prefix: str) -> dict[str, int]:
        """Size in bytes of every object under the prefix, by its name behind the prefix."""

        def attempt(patience: Patience) -> dict[str, int]:
            sizes = {}
            for found in self._client.list_objects(bucket, prefix=prefix, recursive=True):
                patience.progressed()
                name = (found.object_name or "").removeprefix(prefix)
                if name and not name.endswith("/"):
                    sizes[name] = found.size or 0
            return sizes

        return self._trying(uri, attempt)

    def _download(self, uri: str, bucket: str, key: str, target: Path) -> None:
        def attempt(patience: Patience) -> None:
            # enforce_content_length makes urllib3 raise when fewer bytes come than were announced.
            response = self._client.get_object(bucket, key)
            part = target.with_name(f".{target.name}.part")
            try:
                with part.open("wb") as stream:
                    for chunk in response.stream(CHUNK_BYTES):
                        stream.write(chunk)
                        patience.progressed()
                announced = response.headers.get("content-length")
                if announced is not None and part.stat().st_size != int(announced):
                    raise urllib3.exceptions.ProtocolError("the transfer was cut off")
                part.replace(target)
            finally:
                response.close()
                part.unlink(missing_ok=True)

        target.parent.mkdir(parents=True, exist_ok=True)
        self._trying(uri, attempt)

    def _upload(self, uri: str, bucket: str, key: str, source: Path) -> None:
        def attempt(_: Patience) -> None:
            self._client.fput_object(bucket, key, str(source), part_size=PART_BYTES)

        self._trying(uri, attempt)

    def _put(self, bucket: str, key: str, data: bytes) -> None:
        self._client.put_object(bucket, key, io.BytesIO(data), len(data))

    def _remove(self, uri: str, bucket: str, keys: Iterable[str]) -> None:
        for key in keys:

            def attempt(_: Patience, key: str = key) -> None:
                self._client.remove_object(bucket, key)

            self._trying(uri, attempt)

    def _trying(self, uri: str, attempt: Callable[[Patience], _Result]) -> _Result:
        """Do it until it is done, fails for good, or patience ends."""
        patience = Patience(self._policy, self._stop)
        while True:
            try:
                return attempt(patience)
            except (MinioException, urllib3.exceptions.HTTPError) as error:
                why = passing_reason(error, uri, self._service)
            except (ValueError, ParseError) as error:
                raise not_s3(uri, self._service, str(error)) from None
            log.warning("storage trouble uri=%s try=%d why=%r", uri, patience.tries, why)
            patience.wait_or_raise(uri, why)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// URI; the key is taken as it stands."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def split_prefix(uri: str) -> tuple[str, str]:
    """Bucket and prefix; the prefix ends with a slash, or is empty for the whole bucket."""
    bucket, key = split_uri(uri)
    key = key.strip("/")
    return bucket, f"{key}/" if key else ""


def _inside(folder: Path, name: str, uri: str) -> Path:
    """Where an object's name lies in the folder.

    Raises:
        BadData: it would lie outside of it, or be no file name.
    """
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise BadData(f"{uri}: the object {name!r} leads out of its folder; remove it there")
    return folder.joinpath(*parts)
