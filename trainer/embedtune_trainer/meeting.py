"""The nodes of a training meet before it begins, and hear of it at once when one of them goes.

Each node's launcher keeps a connection to the first node's for as long as it lives. The first node
says go when all are connected, so all of them start or none does, and lets nobody in any more: a
pod that is made anew while the others still end knocks until its next fellows let it in. What they
train by is named after the meeting (`generation`), so that nothing of one reaches another.

Where some may be missing, the first node says go without them after a while, and goes on listening:
when one of them has come, all end with a checkpoint and meet anew.

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

from embedtune_api.contract import ENV_MIN_NODES, ENV_NODE, ENV_NODES, ENV_RENDEZVOUS
from embedtune_trainer.errors import BadSpec, PeerLost

BEAT_S: Final = 5.0
"""Between two signs of life."""
SILENCE_S: Final = 45.0
"""Without a sign of life after which a node is gone: its machine, or the network to it."""
_AGAIN_S: Final = 0.5
_LINE_MAX: Final = 512
_GO, _BYE, _BEAT = "go", "bye", ""


@dataclass(frozen=True)
class Patience:
    """For how long who waits for whom, in seconds.

    Attributes:
        wait_s: most that a node waits to begin; then it frees what it holds and is made anew.
        gather_s: without a newcomer after which those begin that are there, where some may be
            missing.
        stay_s: of training before one that has come since is let in.
    """

    wait_s: float = 600.0
    gather_s: float = 60.0
    stay_s: float = 300.0


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


class _Reception:
    """The first node's door: where the others knock and say who they are."""

    def __init__(self, place: Place) -> None:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        self._place = place
        self._server = socket.create_server(
            ("", place.port), family=family, backlog=place.nodes, dualstack_ipv6=both
        )
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._server, selectors.EVENT_READ)
        self._known: list[_Wire] = []

    @property
    def there(self) -> dict[int, _Wire]:
        """Who has come, by number."""
        return {wire.node: wire for wire in self._known if wire.node is not None}

    def look(self, wait_s: float) -> None:
        """Take in who comes within this time, and let go who is gone."""
        for key, _ in self._ready.select(wait_s):
            if key.data is None:
                wire = _Wire(self._server.accept()[0])
                self._known.append(wire)
                self._ready.register(wire.socket, selectors.EVENT_READ, wire)
            elif not self._introduced(key.data):
                self.hand_over(key.data).close()
        for wire in [wire for wire in self._known if wire.silent]:
            self.hand_over(wire).close()

    def hand_over(self, wire: _Wire) -> _Wire:
        """Look at it no more."""
        self._ready.unregister(wire.socket)
        self._known.remove(wire)
        return wire

    def close(self) -> None:
        """Let nobody in any more, and go who waits."""
        self._server.close()
        _close(self._known)
        self._ready.close()

    def _introduced(self, wire: _Wire) -> bool:
        """Whether it says what a node of this job says; of two with one number the newer is it."""
        lines = wire.lines()
        if lines is None:
            return False
        for line in lines:
            name, _, number = line.rpartition(" ")
            numbers = [str(n) for n in range(1, self._place.nodes)]
            if line != _BEAT and (name != self._place.name or number not in numbers):
                return False
            if line != _BEAT:
                for other in self._known:
                    if other.node == int(number):
                        other.node = None  # its pod is gone: there are never two with one number
                wire.node = int(number)
        return True


@dataclass(frozen=True)
class Meeting:
    """What those who have met agree on.

    Attributes:
        generation: its name.
        host: where this node reaches the first one.
        port: for torch's store, on the first node.
        rank: this node's among those that train, from 0; where some are missing it is not its
            number.
        nodes: how many train.
    """

    generation: str
    host: str
    port: int
    rank: int
    nodes: int


class Fellows:
    """The other nodes of a meeting, for as long as the training lasts.

    Attributes:
        meeting: what they agree on.
        lost: set once one of them is gone.
    """

    def __init__(
        self,
        wires: list[_Wire],
        meeting: Meeting,
        reception: _Reception | None = None,
        stay_s: float = 0.0,
    ) -> None:
        """Reception: the first node's, where some are missing; stay_s: see Patience."""
        self.meeting = meeting
        self.lost = Event()
        self._wires = wires
        self._reception = reception
        self._until = time.monotonic() + stay_s
        self._ended = Event()
        self._watching: Thread | None = None

    def watch(self, on_lost: Callable[[], None], on_come: Callable[[], None]) -> None:
        """From now on, call one of them in a thread, once.

        Args:
            on_lost: a fellow is gone.
            on_come: on the first node: one that was missing has come, and it is time to let it in.
        """

        def work() -> None:
            lost = self._listen()
            if self._ended.is_set():
                return
            if lost:
                self.lost.set()
                for wire in self._wires:  # those who are still there hear it by that
                    wire.hang_up()
            (on_lost if lost else on_come)()

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
        if self._reception is not None:
            self._reception.close()

    def _listen(self) -> bool:
        """Wait until this node has left, or else one is gone (True) or has come (False)."""
        there = list(self._wires)
        beat_at = time.monotonic()
        with selectors.DefaultSelector() as ready:
            for wire in there:
                ready.register(wire.socket, selectors.EVENT_READ, wire)
            while (there or self._reception) and not self._ended.is_set():
                for key, _ in ready.select(BEAT_S):
                    lines = key.data.lines()
                    if lines is None:
                        return True
                    if _BYE in lines:
                        there.remove(key.data)
                        ready.unregister(key.data.socket)
                if time.monotonic() >= beat_at:
                    beat_at = time.monotonic() + BEAT_S
                    for wire in there:
                        wire.say(_BEAT)
                if any(wire.silent for wire in there):
                    return True
                if self._has_come():
                    return False
        self._ended.wait()
        return True

    def _has_come(self) -> bool:
        """Whether one that was missing is there, and has waited long enough."""
        if self._reception is None:
            return False
        self._reception.look(0)
        return bool(self._reception.there) and time.monotonic() > self._until


def meet(place: Place, patience: Patience | None = None) -> Fellows:
    """Wait until all nodes are there, or enough of them.

    Args:
        place: this node's.
        patience: for how long.

    Raises:
        PeerLost: they are not, within that time.
    """
    patience = patience or Patience()
    until = time.monotonic() + patience.wait_s
    if place.node == 0:
        return _receive(place, until, patience)
    while time.monotonic() < until:
        fellows = _knock(place, until)
        if fellows is not None:
            return fellows
        time.sleep(_AGAIN_S)
    raise PeerLost(
        f"node {place.node} of {place.nodes} has waited {patience.wait_s:.0f} s for the training to"
        f" begin: node 0 ({place.name}) was not there, or others were not"
    )


def _receive(place: Place, until: float, patience: Patience) -> Fellows:
    """The first node's part."""
    reception = _Reception(place)
    try:
        _gather(reception, place, until, patience)
    except BaseException:
        reception.close()
        raise
    wires = [reception.hand_over(wire) for _, wire in sorted(reception.there.items())]
    generation, port, nodes = uuid.uuid4().hex, _free_port(), len(wires) + 1
    for rank, wire in enumerate(wires, 1):
        wire.say(f"{_GO} {generation} {port} {rank} {nodes}")
        wire.heard = time.monotonic()
    meeting = Meeting(generation, "127.0.0.1", port, 0, nodes)
    if nodes == place.nodes:
        reception.close()
        return Fellows(wires, meeting)
    return Fellows(wires, meeting, reception, patience.stay_s)


def _gather(reception: _Reception, place: Place, until: float, patience: Patience) -> None:
    """Wait until those are there that begin."""
    there, since = 1, time.monotonic()
    while there < place.nodes:
        reception.look(_AGAIN_S)
        now, before, there = time.monotonic(), there, len(reception.there) + 1
        since = since if there == before else now
        if there >= place.least and now > since + patience.gather_s:
            return
        if now > until:
            missing = sorted(set(range(1, place.nodes)) - reception.there.keys())
            raise PeerLost(
                f"of {place.nodes} nodes these did not come within {patience.wait_s:.0f} s: "
                + ", ".join(map(str, missing))
            )


def _knock(place: Place, until: float) -> Fellows | None:
    """Another node's part: None if the first one is not there, or is gone before they begin."""
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
            if word == _GO and len(rest) == 4 and all(map(str.isdigit, rest[1:])):
                host = wire.socket.getpeername()[0]
                return Fellows([wire], Meeting(rest[0], host, *map(int, rest[1:])))
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
