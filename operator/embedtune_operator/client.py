"""The few calls to the API server that the operator makes itself, and how they can end."""

import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp

from embedtune_operator.connection import OWN_CALL, Connection
from embedtune_operator.names import MANAGER

JsonObject = dict[str, Any]
logger = logging.getLogger(__name__)

APPLY = "application/apply-patch+yaml"
TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
PAGE = 500


class ApiError(Exception):
    """A call that did not do what it should; the subclass says what to make of it."""

    def __init__(
        self, message: str, *, status: int = 0, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class Unavailable(ApiError):
    """The same call may succeed later, and may have succeeded now: 429, 5xx, no answer."""


class NotLeading(Unavailable):
    """The Lease is not held at this moment, so nothing was sent."""


class Conflict(ApiError):
    """The object is another than the call was meant for (409)."""


class AlreadyExists(Conflict):
    """There is one of this name."""


class NotFound(ApiError):
    """There is no such object (404)."""


class Refused(ApiError):
    """The call is understood and not allowed (400, 403, 422): quota, admission, schema."""


class Client:
    """Calls that are safe to repeat: each brings about a state and says what it is then."""

    def __init__(
        self, connection: Connection, may_write: Callable[[], bool] = lambda: True
    ) -> None:
        """May_write: asked before every write; where it is not, the write is Unavailable."""
        self._connection = connection
        self._may_write = may_write

    async def apply(self, path: str, body: JsonObject) -> JsonObject:
        """Server-side apply."""
        return await self._call(
            "PATCH",
            path,
            body,
            content_type=APPLY,
            params={"fieldManager": MANAGER, "force": "true"},
        )

    async def merge(self, path: str, body: JsonObject) -> JsonObject:
        """JSON merge patch."""
        return await self._call(
            "PATCH",
            path,
            body,
            content_type="application/merge-patch+json",
            params={"fieldManager": MANAGER},
        )

    async def create(self, path: str, body: JsonObject) -> JsonObject:
        """Create; AlreadyExists if it is there, Refused if the API server does not know a field."""
        # what a runtime gives of Kubernetes' own API must not be cut off where it is misspelt
        strictly = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        return await self._call("POST", path, body, params=strictly)

    async def delete(self, path: str, uid: str, resource_version: int) -> None:
        """Delete that very object, and what it owns after it; Conflict if it has changed since."""
        conditions = {"uid": uid, "resourceVersion": str(resource_version)}
        body = {"propagationPolicy": "Background", "preconditions": conditions}
        await self._call("DELETE", path, body)

    async def get(self, path: str) -> JsonObject | None:
        """The object, or None if there is none."""
        try:
            return await self._call("GET", path)
        except NotFound:
            return None

    async def list(
        self, path: str, selector: str = ""
    ) -> AsyncIterator[tuple[int, "list[JsonObject]"]]:
        """All objects, a page at a time, each with the resource version that it is the state of.

        That is now and not from the API server's cache; but what is newer than the page's version
        can be missing in it.
        """
        params = {"limit": str(PAGE), "labelSelector": selector}
        while True:
            page = await self._call("GET", path, params=params)
            yield int(page["metadata"]["resourceVersion"]), page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return
            params = params | {"continue": token}

    async def _call(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        content_type: str = "application/json",
        params: dict[str, str] | None = None,
    ) -> JsonObject:
        api = await self._connection.present()
        if method != "GET" and not self._may_write():
            raise NotLeading(f"{method} {path}: the Lease is not held")
        try:
            async with api.aiohttp_session.request(
                method,
                api.server + path,
                params=params,
                data=None if body is None else _encoded(body, content_type),
                headers={"Content-Type": content_type, "Accept": "application/json"},
                timeout=TIMEOUT,
                trace_request_ctx=OWN_CALL,
            ) as response:
                payload = await response.read()
                status, retry_after = response.status, response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, RuntimeError) as error:
            # RuntimeError: the session was closed to log in anew
            raise Unavailable(f"{method} {path}: {error or type(error).__name__}") from error
        if status < 400:
            answer: JsonObject = json.loads(payload)
            return answer
        raise _error(status, payload, retry_after)


def _encoded(body: JsonObject, content_type: str) -> bytes:
    """JSON; for an apply such as is YAML, too, which does not know JSON's pairs of escapes."""
    if content_type != APPLY:
        return json.dumps(body).encode()
    return _NOT_PRINTABLE.sub(_escaped, json.dumps(body, ensure_ascii=False)).encode()


_NOT_PRINTABLE = re.compile("[^ -~]")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xD800 <= code < 0xE000:  # half of a pair stands for nothing
        code = 0xFFFD
    return f"\\U{code:08x}"


def _error(status: int, payload: bytes, retry_after: str) -> ApiError:
    try:
        document = json.loads(payload)
        message, reason = str(document["message"]), document.get("reason")
    except (ValueError, KeyError, TypeError):
        reason = None
        message = payload[:500].decode(errors="replace") or f"HTTP {status}"
    if status == 404:
        return NotFound(message, status=status)
    if status == 409 and reason == "AlreadyExists":
        return AlreadyExists(message, status=status)
    if status == 409:
        return Conflict(message, status=status)
    if status in (400, 403, 405, 413, 415, 422):
        return Refused(message, status=status)
    delay = float(retry_after) if retry_after.isdigit() else None
    return Unavailable(message, status=status, retry_after_s=delay)
