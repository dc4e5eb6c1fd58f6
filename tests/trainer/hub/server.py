"""A hub of one machine: the endpoints that fetching uses, as huggingface.co answers them."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories ("models/OWNER/NAME", "datasets/...") with their files, and what goes wrong."""

    repositories: dict[str, dict[str, bytes]]
    branches: tuple[str, ...] = ("main", "v1", SHA)
    token: str | None = None
    """Wanted from everybody, if set."""
    refusals: list[tuple[int, str]] = field(default_factory=list)
    """Answers to the next requests, each a status and an X-Error-Code, before any other."""
    trouble: tuple[str, int] | None = None
    """A part of a path, and the status that its first request gets."""
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        if self.hub.refusals:
            return self._answer(*self.hub.refusals.pop(0))
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._answer(401, "")
        if self.hub.trouble and self.hub.trouble[0] in self.path:
            status, self.hub.trouble = self.hub.trouble[1], None
            return self._answer(status, "")
        path = self.path.partition("?")[0].strip("/")
        return self._api(path.removeprefix("api/")) if path.startswith("api/") else self._file(path)

    def _api(self, path: str) -> None:
        repository = "/".join(path.split("/")[:3])
        files = self.hub.repositories.get(repository)
        if files is None:
            return self._answer(404, "RepoNotFound")
        what, _, revision = path.removeprefix(repository).strip("/").partition("/")
        if (revision or "main") not in self.hub.branches:
            return self._answer(404, "RevisionNotFound")
        if what == "tree":
            rows = [{"type": "file", "path": n, "size": len(b), "oid": n} for n, b in files.items()]
            return self._json(rows)
        siblings = [{"rfilename": name} for name in files]
        return self._json({"id": repository.partition("/")[2], "sha": SHA, "siblings": siblings})

    def _file(self, path: str) -> None:
        repository, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        key = repository if repository.startswith("datasets/") else f"models/{repository}"
        content = self.hub.repositories.get(key, {}).get(name)
        if content is None or revision != SHA:
            return self._answer(404, "EntryNotFound")
        etag = hashlib.sha256(content).hexdigest()
        return self._answer(200, "", content, {"ETag": f'"{etag}"', "X-Repo-Commit": SHA})

    def _json(self, content: object) -> None:
        self._answer(200, "", json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(
        self, status: int, code: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub on a free port of this machine."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
