"""Where the nodes of a training find each other, and the connections between them.

Each has a place; the first one opens a door at its own, and the others knock there and say who they
are. What follows is `meeting`'s.
"""

import os
import selectors
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

from embedtune_api.contract import ENV_MIN_NODES, ENV_NODE, ENV_NODES, ENV_RENDEZVOUS
from embedtune_trainer.errors import BadSpec

BEAT: Final = ""
"""What a node says to tell that it lives."""
_LINE_MAX: Final = 512


@dataclass(frozen=True)
class Patience:
    """For how long who waits for whom, in seconds.

    Attributes:
        wait_s: most that a node waits to begin; then it frees what it holds and is made anew.
        gather_s: without a newcomer after which those begin that are there, where some may be
            missing.
        stay_s: of training before one that has come since is let in.
        beat_s: between two signs of life.
        silence_s: without one after which a node is gone: its machine, or the network to it.
    """

    wait_s: float = 600.0
    gather_s: float = 60.0
    stay_s: float = 300.0
    beat_s: float = 5.0
    silence_s: float = 45.0


@dataclass(frozen=True)
class Place:
    """A node's place among those that train together.

    Attributes:
        node: its number, from 0.
        nodes: how many there are.
        least: how few of them may train, the first among them.
        host: the first node's name.
        port: where the first node listens.
    """

    node: int
    nodes: int
    least: int
    host: str
    port: int

    @classmethod
    def of_environment(cls) -> Self | None:
        """As the operator's variables say; None for one node.

        Raises:
            BadSpec: they are incomplete.
        """
        nodes = int(os.environ.get(ENV_NODES) or 1)
        if nodes <= 1:
            return None
        try:
            host, _, port = os.environ[ENV_RENDEZVOUS].rpartition(":")
            least = int(os.environ.get(ENV_MIN_NODES) or nodes)
            return cls(int(os.environ[ENV_NODE]), nodes, least, host, int(port))
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
class Wire:
    """One connection, read line by line without waiting."""

    socket: socket.socket
    patience: Patience
    node: int | None = None
    """Which node is at its other end, once it has said so."""
    heard: float = field(default_factory=time.monotonic)
    _rest: bytes = b""

    def __post_init__(self) -> None:
        self.socket.settimeout(self.patience.beat_s)

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
        return time.monotonic() - self.heard > self.patience.silence_s

    def hang_up(self) -> None:
        """End it for both sides, whoever still reads from it."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Free it."""
        self.socket.close()


class Reception:
    """The first node's door: where the others knock and say who they are."""

    def __init__(self, place: Place, patience: Patience) -> None:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        self._place, self._patience = place, patience
        self._server = socket.create_server(
            ("", place.port), family=family, backlog=place.nodes, dualstack_ipv6=both
        )
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._server, selectors.EVENT_READ)
        self._known: list[Wire] = []

    @property
    def there(self) -> dict[int, Wire]:
        """Who has come, by number."""
        return {wire.node: wire for wire in self._known if wire.node is not None}

    def look(self, wait_s: float) -> None:
        """Take in who comes within this time, and let go who is gone."""
        for key, _ in self._ready.select(wait_s):
            if key.data is None:
                wire = Wire(self._server.accept()[0], self._patience)
                self._known.append(wire)
                self._ready.register(wire.socket, selectors.EVENT_READ, wire)
            elif not self._introduced(key.data):
                self.hand_over(key.data).close()
        for wire in [wire for wire in self._known if wire.silent]:
            self.hand_over(wire).close()

    def hand_over(self, wire: Wire) -> Wire:
        """Look at it no more."""
        self._ready.unregister(wire.socket)
        self._known.remove(wire)
        return wire

    def close(self) -> None:
        """Let nobody in any more, and go who waits."""
        self._server.close()
        for wire in self._known:
            wire.close()
        self._ready.close()

    def _introduced(self, wire: Wire) -> bool:
        """Whether it says what a node of this job says; of two with one number the newer is it."""
        lines = wire.lines()
        if lines is None:
            return False
        for line in lines:
            name, _, number = line.rpartition(" ")
            numbers = [str(n) for n in range(1, self._place.nodes)]
            if line != BEAT and (name != self._place.name or number not in numbers):
                return False
            if line != BEAT:
                for other in self._known:
                    if other.node == int(number):
                        other.node = None  # its pod is gone: there are never two with one number
                wire.node = int(number)
        return True
