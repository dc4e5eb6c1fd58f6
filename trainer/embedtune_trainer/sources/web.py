"""Files from the web, by https:// and http://: small ones, from public addresses only.

A data file may name any URL, and the pod that reads it stands inside a cluster. So each name is
resolved here, all of its addresses are judged, and the connection goes to the very address that
was judged: a name that answers differently the second time gets nowhere. Redirects are judged
anew.
"""

import ipaddress
import os
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3

from embedtune_api.contract import ENV_ALLOW_PRIVATE
from embedtune_trainer.errors import BadData, SourceNotFound, StorageUnavailable

CHUNK_BYTES: Final = 2**16
MOST_REDIRECTS: Final = 5
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")
_PASSING: Final = {408, 425, 429}
_Pool = urllib3.HTTPConnectionPool | urllib3.HTTPSConnectionPool


@dataclass(frozen=True)
class Limits:
    """How much is waited for and taken."""

    size_bytes: int = 64 * 2**20
    connect_s: float = 10.0
    read_s: float = 20.0
    """Between two pieces of an answer."""
    total_s: float = 120.0
    tries: int = 3
    wait_s: float = 1.0
    """Before the second try; doubled for the third."""


class Web:
    """http:// and https:// URLs."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._tls = ssl.create_default_context()

    def fetch_file(self, url: str, target: Path) -> Path:
        """Download a file.

        Raises:
            SourceNotFound: there is none, or the server refuses it.
            BadData: it is too large, or its address is not one that may be used.
            StorageUnavailable: the server does not answer, after some tries.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        wait_s = self._limits.wait_s
        for left in reversed(range(self._limits.tries)):
            try:
                self._download(url, part)
                part.replace(target)
            except urllib3.exceptions.SSLError as error:
                raise BadData(f"{url}: no trusted connection can be made: {error}") from None
            except (StorageUnavailable, urllib3.exceptions.HTTPError, OSError) as error:
                if left == 0:
                    raise StorageUnavailable(f"{url}: {_plainly(error)}") from None
                time.sleep(wait_s)
                wait_s *= 2
            else:
                break
            finally:
                part.unlink(missing_ok=True)
        return target

    def _download(self, url: str, part: Path) -> None:
        deadline = time.monotonic() + self._limits.total_s
        here = url
        for _ in range(MOST_REDIRECTS + 1):
            parts = _split(here)
            with self._pool(parts, _address(parts, here)) as pool:
                response = self._get(pool, parts)
                try:
                    onward = response.get_redirect_location()
                    if not onward:
                        self._save(response, part, url, deadline)
                        return
                finally:
                    response.close()
            onward = urljoin(here, onward)
            if parts.scheme == "https" and not onward.startswith("https://"):
                raise BadData(f"{url}: leads from https:// to {onward}; give the file's own URL")
            here = onward
        raise BadData(f"{url}: redirects more than {MOST_REDIRECTS} times")

    def _pool(self, parts: SplitResult, address: str) -> _Pool:
        """A connection to just this address, which has to prove that it is the name."""
        timeout = urllib3.Timeout(connect=self._limits.connect_s, read=self._limits.read_s)
        if parts.scheme == "http":
            return urllib3.HTTPConnectionPool(
                address, parts.port or 80, timeout=timeout, retries=False
            )
        return urllib3.HTTPSConnectionPool(
            address,
            parts.port or 443,
            timeout=timeout,
            retries=False,
            ssl_context=self._tls,
            server_hostname=parts.hostname,
            assert_hostname=parts.hostname,
        )

    @staticmethod
    def _get(pool: _Pool, parts: SplitResult) -> urllib3.BaseHTTPResponse:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "Accept-Encoding": "identity",
            "User-Agent": "embedtune",
        }
        return pool.urlopen(
            "GET",
            urllib3.util.parse_url(path).url,
            headers=headers,
            redirect=False,
            preload_content=False,
            decode_content=False,
            assert_same_host=False,
        )

    def _save(
        self, response: urllib3.BaseHTTPResponse, part: Path, url: str, deadline: float
    ) -> None:
        status, most = response.status, self._limits.size_bytes
        if status >= 500 or status in _PASSING:
            raise StorageUnavailable(f"the server answers HTTP {status}")
        if status != 200:
            raise SourceNotFound(f"{url}: the server answers HTTP {status}; check the URL")
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            raise BadData(f"{url}: {announced} bytes, more than the {most} that an image may have")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise BadData(f"{url}: the server compresses it, though it was asked not to")
        size = 0
        with part.open("wb") as stream:
            for chunk in response.stream(CHUNK_BYTES):
                size += len(chunk)
                if size > most:
                    raise BadData(f"{url}: more than the {most} bytes that an image may have")
                if time.monotonic() > deadline:
                    raise StorageUnavailable(f"takes more than {self._limits.total_s:.0f} s")
                stream.write(chunk)
        if not size:
            raise SourceNotFound(f"{url}: the server sends nothing")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise BadData(f"{url}: is not a URL such as https://example.com/image.png")
    return parts


def _address(parts: SplitResult, url: str) -> str:
    """The address to connect to.

    Raises:
        SourceNotFound: the name has none.
        BadData: one of the name's addresses is not public.
    """
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, parts.port or 0, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise SourceNotFound(f"{url}: the name {host} cannot be resolved; check it") from None
    addresses = [str(entry[4][0]) for entry in found]
    if os.environ.get(ENV_ALLOW_PRIVATE) != "1":
        for address in addresses:
            if not is_public(address):
                raise BadData(
                    f"{url}: {host} is {address}, which is not a public address; put the file on"
                    f" S3, or allow such addresses with {ENV_ALLOW_PRIVATE}=1 (on a cluster its"
                    " administrator does, by the chart's trainer.allowPrivateAddresses)"
                )
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether anyone on the internet could reach it; what only wraps another address is not."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour is not None or ip.teredo is not None or ip in _TRANSLATED:
            return False
    return ip.is_global and not ip.is_multicast


def _plainly(error: Exception) -> str:
    if isinstance(error, StorageUnavailable):
        return str(error)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError | urllib3.exceptions.TimeoutError):
        return "the server does not answer in time"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "no connection can be made"
    return f"the connection broke: {error}"
