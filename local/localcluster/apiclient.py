"""The few calls to the API server that bringing a cluster up takes, with the standard library."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

_PATCH_TYPE = "application/merge-patch+json"


class ApiError(Exception):
    """The API server's refusal.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class ApiClient:
    """HTTPS with a client certificate."""

    def __init__(self, url: str, authority: Path, certificate: Path, key: Path) -> None:
        self.url = url
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._tls.load_cert_chain(str(certificate), str(key))
        # A proxy named in the environment must not get what is meant for this machine.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
        )

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = 10
    ) -> str:
        """Sends one request and gives the answer's text.

        Raises:
            ApiError: the server answered with an error.
            OSError: the server could not be reached.
        """
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": _PATCH_TYPE if method == "PATCH" else "application/json"},
        )
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, error.read().decode(errors="replace")[:500]) from error

    def get(self, path: str) -> dict[str, Any]:
        """Reads an object or a list."""
        found: dict[str, Any] = json.loads(self.call("GET", path))
        return found

    def is_ready(self, path: str = "/readyz") -> bool:
        """Whether a health endpoint answers 200."""
        try:
            self.call("GET", path, timeout_s=2)
        except (ApiError, OSError):
            return False
        return True

    def reads(self, path: str) -> bool:
        """Whether an object can be read, or is known not to exist."""
        try:
            self.call("GET", path, timeout_s=2)
        except ApiError as error:
            return error.status == HTTPStatus.NOT_FOUND
        except OSError:
            return False
        return True


def answers(url: str, *, timeout_s: float = 2) -> bool:
    """Whether a plain HTTP endpoint on this machine answers 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            return int(answer.status) == 200
    except (OSError, http.client.HTTPException):
        return False
