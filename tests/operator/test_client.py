"""What the operator's own calls to the API server carry."""

import json
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
import yaml
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from embedtune_operator.client import Client
from embedtune_operator.connection import Connection
from tests.operator.world import Namespace, OperatorProcess, condition, failure

ODD = "caf\u00e9 \U0001f4a9 \x00 \x1b[31m \x7f \x85 \u2028 \ufeff \\U0001f4a9 \\ \"'/ \r\n\t"
"""What JSON may hold as it is, and YAML not."""


class Known(Connection):
    """A connection to a server without credentials."""

    def __init__(self, session: kopf.AiohttpSession) -> None:
        super().__init__([])
        self._known = session

    async def present(self) -> kopf.AiohttpSession:
        return self._known


class Listener:
    """A server that keeps what it is asked."""

    def __init__(self) -> None:
        self.queries: list[dict[str, str]] = []
        self.bodies: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        self.bodies.append(await request.text())
        return web.json_response({})


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def client(listener: Listener) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listener.answer)
    async with TestServer(app) as server, ClientSession() as session:
        url = str(server.make_url("")).rstrip("/")
        yield Client(Known(kopf.AiohttpSession(server=url, aiohttp_session=session)))


async def test_what_is_applied_is_yaml_whatever_is_in_it(
    client: Client, listener: Listener
) -> None:
    body: dict[str, Any] = {"status": {"message": ODD, ODD: [1, None, True, 0.5]}}
    await client.apply("/a", body)
    assert listener.bodies[0].isascii()
    assert listener.bodies[0].isprintable()
    assert yaml.safe_load(listener.bodies[0]) == body


async def test_half_of_a_pair_is_replaced(client: Client, listener: Listener) -> None:
    await client.apply("/a", {"message": "a\ud800b"})
    assert yaml.safe_load(listener.bodies[0]) == {"message": "a\ufffdb"}


async def test_what_is_not_applied_is_json(client: Client, listener: Listener) -> None:
    await client.create("/a", {"message": ODD})
    await client.merge("/a", {"message": ODD})
    assert [json.loads(body) for body in listener.bodies] == [{"message": ODD}] * 2


async def test_a_child_with_an_unknown_field_is_to_be_refused(
    client: Client, listener: Listener
) -> None:
    await client.create("/a", {})
    assert listener.queries[0]["fieldValidation"] == "Strict"


@pytest.mark.controlplane
def test_a_failure_can_be_told_in_any_characters(operator: OperatorProcess, ns: Namespace) -> None:
    """The real parser of the API server reads it."""
    ns.submit()
    ns.end(ns.start_training(), 65, failure("BadData", f"row 7: the label is {ODD}"))
    status = ns.wait_reason("BadData")
    assert "\U0001f4a9" in condition(status, "Failed")["message"]
