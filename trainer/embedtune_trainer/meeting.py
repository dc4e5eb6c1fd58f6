"""The nodes of a training meet before it begins, and hear of it at once when one of them goes.

Each node's launcher keeps a connection to the first node's for as long as it lives. The first node
says go when all are connected, so all of them start or none does, and listens no more: a pod that
is made anew while the others still end knocks until its next fellows let it in. What they train by
is named after the meeting (`generation`), so that nothing of one reaches another.

A connection that ends without a farewell, or is silent for SILENCE_S, means that a node is gone.
Then every node is told, also those whose processes wait in a collective that would never return.
"""

import os
import selectors
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Final, Self

from embedtune_api.contract import ENV_NODE, ENV_NODES, ENV_RENDEZVOUS
from embedtune_trainer.errors import BadSpec, PeerLost

WAIT_S: Final = 600.0
"""Most that a node waits for the others; after that it frees what it holds and is made anew."""
BEAT_S: Final = 5.0
"""Between two signs of life."""
SILENCE_S: Final = 45.0
"""Without a sign of life after which a node is gone: its machine, or the network to it."""
_AGAIN_S: Final = 0.5
_LINE_MAX: Final = 512
_GO, _BYE, _BEAT = "go", "bye", ""


@dataclass(frozen=True)
class Place:
    """A node's place among those that train together.

    Attributes:
        node: its number, from 0.
        nodes: how many there are.
        host: the first node's name.
        port: where the first node listens.
    """

    node: int
    nodes: int
    host: str
    port: int

    @classmethod
    def of_environment(cls) -> Self | None:
        """As the operator's variables say; None for one node.

        Raises:
            BadSpec: they are incomplete.
        """
        if int(os.environ.get(ENV_NODES) or 1) <= 1:
            return None
        try:
            host, _, port = os.environ[ENV_RENDEZVOUS].rpartition(":")
            return cls(int(os.environ[ENV_NODE]), int(os.environ[ENV_NODES]), host, int(port))
        except (KeyError, ValueError) as error:
            raise BadSpec(
                f"{ENV_NODES} is set, so {ENV_NODE} must be a number and {ENV_RENDEZVOUS} host:port"
                f" ({error})"
            ) from None

    @property
    def name(self) -> str:
        """What nodes of one job call the place where they meet."""
        return f"{self.host}:{self.port}"


@dataclass
class _Wire:
    """One connection, read line by line without waiting."""

    socket: socket.socket
    node: int | None = None
    """Which node is at its other end, once it has said so."""
    heard: float = field(default_factory=time.monotonic)
    _rest: bytes = b""

    def __post_init__(self) -> None:
        self.socket.settimeout(BEAT_S)

    def say(self, line: str) -> None:
        """Send a line; that the other end is gone is heard in reading."""
        with suppress(OSError):
            self.socket.sendall(f"{line}\n".encode())

    def lines(self) -> list[str] | None:
        """What has come; None at the end."""
        try:
            got = self.socket.recv(4096)
        except TimeoutError:
            return []
        except OSError:
            return None
        self._rest += got
        *whole, self._rest = self._rest.split(b"\n")
        if not got or len(self._rest) > _LINE_MAX:
            return None
        self.heard = time.monotonic()
        return [line.decode(errors="replace") for line in whole]

    @property
    def silent(self) -> bool:
        """Whether it has given no sign of life for too long."""
        return time.monotonic() - self.heard > SILENCE_S

    def hang_up(self) -> None:
        """End it for both sides, whoever still reads from it."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Free it."""
        self.socket.close()


class Fellows:
    """The other nodes of a meeting, for as long as the training lasts.

    Attributes:
        generation: names the meeting.
        host: where this node reaches the first one.
        port: for torch's store, on the first node.
        lost: set once one of them is gone.
    """

    def __init__(self, wires: list[_Wire], generation: str, host: str, port: int) -> None:
        self.generation = generation
        self.host = host
        self.port = port
        self.lost = Event()
        self._wires = wires
        self._ended = Event()
        self._watching: Thread | None = None

    def watch(self, on_lost: Callable[[], None]) -> None:
        """From now on, call it in a thread when one of them is gone."""

        def work() -> None:
            if self._listen():
                self.lost.set()
                for wire in self._wires:  # those who are still there hear it by that
                    wire.hang_up()
                on_lost()

        self._watching = Thread(target=work, name="fellows", daemon=True)
        self._watching.start()

    def leave(self, *, well: bool) -> None:
        """End the connections; if all went well, the others need not end for it."""
        self._ended.set()
        for wire in self._wires:
            if well:
                wire.say(_BYE)
            wire.hang_up()
        if self._watching is not None:
            self._watching.join(2 * BEAT_S)
        _close(self._wires)

    def _listen(self) -> bool:
        """Whether one is gone, before this node has left."""
        there = list(self._wires)
        beat_at = time.monotonic()
        with selectors.DefaultSelector() as ready:
            for wire in there:
                ready.register(wire.socket, selectors.EVENT_READ, wire)
            while there and not self._ended.is_set():
                for key, _ in ready.select(BEAT_S):
                    lines = key.data.lines()
                    if lines is None:
                        return not self._ended.is_set()
                    if _BYE in lines:
                        there.remove(key.data)
                        ready.unregister(key.data.socket)
                if time.monotonic() >= beat_at:
                    beat_at = time.monotonic() + BEAT_S
                    for wire in there:
                        wire.say(_BEAT)
                if any(wire.silent for wire in there):
                    return not self._ended.is_set()
        return False


def meet(place: Place, wait_s: float = WAIT_S) -> Fellows:
    """Wait until all nodes are there.

    Args:
        place: this node's.
        wait_s: seconds at most.

    Raises:
        PeerLost: they are not, within that time.
    """
    until = time.monotonic() + wait_s
    if place.node == 0:
        return _receive(place, until, wait_s)
    while time.monotonic() < until:
        fellows = _knock(place, until)
        if fellows is not None:
            return fellows
        time.sleep(_AGAIN_S)
    raise PeerLost(
        f"node {place.node} of {place.nodes} has waited {wait_s:.0f} s for the training to begin:"
        f" node 0 ({place.name}) was not there, or others were not"
    )


def _receive(place: Place, until: float, wait_s: float) -> Fellows:
    """The first node's part."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    server = socket.create_server(
        ("", place.port), family=family, backlog=place.nodes, dualstack_ipv6=both
    )
    known: list[_Wire] = []
    with server, selectors.DefaultSelector() as ready:
        ready.register(server, selectors.EVENT_READ)
        while True:
            there = {wire.node: wire for wire in known if wire.node is not None}
            if len(there) == place.nodes - 1:
                break
            if time.monotonic() > until:
                missing = sorted(set(range(1, place.nodes)) - there.keys())
                _close(known)
                raise PeerLost(
                    f"of {place.nodes} nodes these did not come within {wait_s:.0f} s: "
                    + ", ".join(map(str, missing))
                )
            for key, _ in ready.select(_AGAIN_S):
                if key.data is None:
                    wire = _Wire(server.accept()[0])
                    known.append(wire)
                    ready.register(wire.socket, selectors.EVENT_READ, wire)
                elif not _introduced(key.data, place, known):
                    ready.unregister(key.data.socket)
                    key.data.close()
                    known.remove(key.data)
            for wire in [wire for wire in known if wire.silent]:
                ready.unregister(wire.socket)
                wire.close()
                known.remove(wire)
    generation, port = uuid.uuid4().hex, _free_port()
    _close([wire for wire in known if wire.node is None])
    for wire in there.values():
        wire.say(f"{_GO} {generation} {port}")
        wire.heard = time.monotonic()
    return Fellows(list(there.values()), generation, "127.0.0.1", port)


def _introduced(wire: _Wire, place: Place, known: list[_Wire]) -> bool:
    """Whether what a wire said is what a node of this job says; of two the newer is the node."""
    lines = wire.lines()
    if lines is None:
        return False
    for line in lines:
        name, _, number = line.rpartition(" ")
        numbers = [str(n) for n in range(1, place.nodes)]
        if line != _BEAT and (name != place.name or number not in numbers):
            return False
        if line != _BEAT:
            for other in known:
                if other.node == int(number):
                    other.node = None  # its pod is gone: there are never two with one number
            wire.node = int(number)
    return True


def _knock(place: Place, until: float) -> Fellows | None:
    """Another node's part: None if the first one is not there, or is gone before all have come."""
    try:
        wire = _Wire(socket.create_connection((place.host, place.port), timeout=BEAT_S))
    except OSError:
        return None
    wire.say(f"{place.name} {place.node}")
    while time.monotonic() < until:
        lines = wire.lines()
        if lines is None:
            break
        for line in lines:
            word, *rest = line.split(" ")
            if word == _GO and len(rest) == 2 and rest[1].isdigit():
                return Fellows([wire], rest[0], wire.socket.getpeername()[0], int(rest[1]))
        wire.say(_BEAT)
    wire.close()
    return None


def _close(wires: list[_Wire]) -> None:
    for wire in wires:
        wire.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
