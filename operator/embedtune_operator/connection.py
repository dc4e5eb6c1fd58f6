"""HTTP sessions to the API server: one for kopf's watches, one for the operator's own calls.

Both are made together, with the same credentials, TLS and traces, by which every call is counted
and every watch's pulse felt. kopf is given its own by its login handler, and closes it when it
stops; the operator's outlives it, so that what has begun can be ended.
"""

import asyncio
import dataclasses
import logging
import os
import time
from pathlib import Path

import aiohttp
import kopf

logger = logging.getLogger(__name__)

TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
TOKEN_FRESH_S = 60.0
"""The kubelet renews a token long before it expires; it is read again this often."""
OWN_CALL = {"own": True}
"""Trace context of the operator's own calls, to tell them from kopf's."""


class Connection:
    """Holds the present session; both are made anew when kopf's credentials stop working."""

    def __init__(self, traces: list[aiohttp.TraceConfig]) -> None:
        self._traces = traces
        self._ready = asyncio.Event()
        self._present: kopf.AiohttpSession | None = None

    async def present(self) -> kopf.AiohttpSession:
        """The session and its server, once there are."""
        while self._present is None:
            await self._ready.wait()
        return self._present

    async def login(self, settings: kopf.OperatorSettings) -> kopf.AiohttpSession:
        """Make a session from the pod's service account, or else from KUBECONFIG.

        Raises:
            kopf.PermanentError: there is neither.
        """
        info = kopf.login_with_service_account(settings=settings)
        if info is not None and (host := os.environ.get("KUBERNETES_SERVICE_HOST")):
            # the address and not kubernetes.default.svc, so as not to depend on the cluster's DNS
            bracketed = f"[{host}]" if ":" in host else host
            port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
            info = dataclasses.replace(info, server=f"https://{bracketed}:{port}")
        fresh = info is not None
        info = info or kopf.login_with_kubeconfig(settings=settings)
        if info is None:
            raise kopf.PermanentError("neither a service account nor KUBECONFIG to log in with")
        await self.close()
        self._present = self._session(info, fresh_token=fresh)
        self._ready.set()
        logger.info("logged in", extra={"server": self._present.server})
        return self._session(info, fresh_token=fresh)

    def _session(self, info: kopf.ConnectionInfo, *, fresh_token: bool) -> kopf.AiohttpSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers={"User-Agent": "embedtune-operator", **info.as_http_headers()},
            trace_configs=self._traces,
            middlewares=[_FreshToken(TOKEN_FILE)] if fresh_token else [],
        )
        return kopf.AiohttpSession(server=info.server.rstrip("/"), aiohttp_session=session)

    async def close(self) -> None:
        """End the operator's own session."""
        if self._present is not None:
            await self._present.aiohttp_session.close()


class _FreshToken:
    """aiohttp middleware that signs each request with the token as it is on disk now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._read_at = float("-inf")

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if time.monotonic() - self._read_at > TOKEN_FRESH_S:
            self._token = self._path.read_text().strip()
            self._read_at = time.monotonic()
        request.headers["Authorization"] = f"Bearer {self._token}"
        return await handler(request)
