"""A proxy between one operator and the real API server, which spoils what passes on demand.

Writes are counted in each namespace, which has one FineTuneJob; a fault is of the nth of its kind.
Watches and lists are spoilt as a whole, by what is in watch_faults.py.
"""

import asyncio
import json
import logging
import re
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from localcluster.controlplane import ControlPlane
from tests.faults.watch_faults import AS_IT_IS, Broken, WatchFault

JsonObject = dict[str, Any]
NAMESPACE = re.compile("/namespaces/([^/]+)/")
REASONS = {
    409: "Conflict",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    504: "Timeout",
}


@dataclass(frozen=True)
class WriteFault:
    """What happens to one write."""

    done: bool
    """Whether the API server does it all the same."""
    status: int = 0
    """What is answered; 0: nothing, since the operator is killed."""

    def __str__(self) -> str:
        how = "after" if self.done else "before"
        return f"{self.status} {how}" if self.status else f"kill {how}"


KILLS = (WriteFault(done=False), WriteFault(done=True))
ANSWERS = (
    *(WriteFault(done=False, status=code) for code in (409, 422, 429, 500)),
    *(WriteFault(done=True, status=code) for code in (409, 422, 429, 500, 504)),
)


def connect(plane: ControlPlane) -> aiohttp.ClientSession:
    """An administrator's session, which can read long lines."""
    tls = ssl.create_default_context(cafile=str(plane.pki.certificate("ca")))
    tls.load_cert_chain(str(plane.pki.certificate("admin")), str(plane.pki.key("admin")))
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=2**22,
    )


class Nth(NamedTuple):
    """A write: so many of the same words come before it."""

    words: str
    before: int

    @classmethod
    def of(cls, writes: Sequence[str], number: int) -> "Nth":
        """That of a life's writes which has this number, from 0."""
        return cls(writes[number], writes[:number].count(writes[number]))

    def is_in(self, writes: Sequence[str]) -> bool:
        """Whether it was among them."""
        return writes.count(self.words) > self.before


class Proxy:
    """See the module."""

    def __init__(
        self,
        plane: ControlPlane,
        session: aiohttp.ClientSession,
        kubeconfig: Path,
        watch_fault: WatchFault = AS_IT_IS,
    ) -> None:
        """Kubeconfig: where the one that leads here is written."""
        self.kubeconfig = kubeconfig
        self.writes: dict[str, list[str]] = defaultdict(list)
        """Of each namespace, in words."""
        self.faults: dict[str, tuple[Nth, WriteFault]] = {}
        """Of each namespace: which write, and what."""
        self.kill: Callable[[], Awaitable[None]] | None = None
        """Kills the operator behind this proxy and starts it anew."""
        self._upstream = plane.url
        self._session = session
        self._watch_fault = watch_fault
        self._background: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        quiet = logging.getLogger("faults.proxy")
        quiet.setLevel(logging.CRITICAL + 1)  # that clients are killed is no news
        self._runner = web.AppRunner(app, access_log=None, logger=quiet, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        cluster = {"name": "c", "cluster": {"server": f"http://{host}:{port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": dict[str, str]()}]
        config = {"clusters": [cluster], "users": users, "contexts": [context]}
        self.kubeconfig.write_text(json.dumps(config | {"current-context": "c"}))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return await self._write(request)
        if "watch" in request.query:
            return await self._watch(request)
        status, payload = await self._forward(request)
        if status == 200:
            payload = self._watch_fault.read(request.path, request.query_string, payload)
        return _answer(status, payload)

    async def _forward(self, request: web.Request, body: bytes | None = None) -> tuple[int, bytes]:
        async with self._session.request(
            request.method,
            self._upstream + request.path_qs,
            data=body,
            headers=_headers(request),
        ) as response:
            return response.status, await response.read()

    async def _write(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        found = NAMESPACE.search(request.path)
        namespace = found.group(1) if found else ""
        words = in_words(request.method, request.path, body)
        this = Nth(words, self.writes[namespace].count(words))
        self.writes[namespace].append(words)
        when, fault = self.faults.get(namespace, (None, None))
        if fault is None or this != when:
            return _answer(*await self._forward(request, body))
        if fault.done:
            await self._forward(request, body)
        if fault.status:
            return _refusal(fault.status)
        assert self.kill is not None
        await self.kill()
        return _refusal(500)  # nobody is there to read it

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        url = self._upstream + request.path_qs
        async with self._session.get(url, headers=_headers(request)) as upstream:
            answer = web.StreamResponse(status=upstream.status)
            answer.content_type = "application/json"
            await answer.prepare(request)
            try:
                async for line in self._watch_fault.stream(plural, upstream.content):
                    await answer.write(line)
            except Broken:
                request.protocol.force_close()
            except (ConnectionError, aiohttp.ClientError):
                pass  # the operator has gone
        return answer


def _headers(request: web.Request) -> dict[str, str]:
    kept = ("Content-Type", "Accept")
    return {name: request.headers[name] for name in kept if name in request.headers}


def _answer(status: int, payload: bytes) -> web.Response:
    return web.Response(status=status, body=payload, content_type="application/json")


def _refusal(code: int) -> web.Response:
    document = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": "the proxy says so",
        "reason": REASONS[code],
        "code": code,
    }
    answer = _answer(code, json.dumps(document).encode())
    if code == 429:
        answer.headers["Retry-After"] = "1"
    return answer


def in_words(method: str, path: str, body: bytes) -> str:
    """A write as the table shows it."""
    document: JsonObject = json.loads(body) if body else {}
    words = path.split("/")
    plural = words[-1] if method == "POST" else words[-2]
    if words[-1] == "status":
        return f"status {document['status'].get('reason')}"
    if plural == "events":
        return f"event {document['reason']}"
    if plural == "finetunejobs" and method == "PATCH":
        there = "on" if document["metadata"].get("finalizers") else "off"
        return f"finalizer {there}"
    if method == "PATCH":
        return f"change {plural} {', '.join(document['spec'])}"
    return f"{method.lower()} {plural}"
