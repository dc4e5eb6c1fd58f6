"""The nodes of a training meet before it begins, and hear of it at once when one of them goes.

Each node's launcher keeps a connection to the first node's for as long as it lives. The first node
says go when all are connected, so all of them start or none does, and lets nobody in any more: a
pod that is made anew while the others still end knocks until its next fellows let it in. What they
train by is named after the meeting (`generation`), so that nothing of one reaches another.

Where some may be missing, the first node says go without them after a while, and goes on listening:
when one of them has come, all end with a checkpoint and meet anew.

A connection that ends without a farewell, or is silent for too long, means that a node is gone.
Then every node is told, also those whose processes wait in a collective that would never return.
"""

import selectors
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from typing import Final

from embedtune_trainer.errors import PeerLost
from embedtune_trainer.reception import BEAT, Patience, Place, Reception, Wire

_AGAIN_S: Final = 0.5
_GO, _BYE = "go", "bye"


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
        wires: list[Wire],
        meeting: Meeting,
        patience: Patience,
        reception: Reception | None = None,
    ) -> None:
        """Reception: the first node's, where some are missing."""
        self.meeting = meeting
        self.lost = Event()
        self._wires = wires
        self._reception = reception
        self._until = time.monotonic() + patience.stay_s
        self._beat_s = patience.beat_s
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
            self._watching.join(2 * self._beat_s)
        for wire in self._wires:
            wire.close()
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
                for key, _ in ready.select(self._beat_s):
                    lines = key.data.lines()
                    if lines is None:
                        return True
                    if _BYE in lines:
                        there.remove(key.data)
                        ready.unregister(key.data.socket)
                if time.monotonic() >= beat_at:
                    beat_at = time.monotonic() + self._beat_s
                    for wire in there:
                        wire.say(BEAT)
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


def meet(place: Place, patience: Patience) -> Fellows:
    """Wait until all nodes are there, or enough of them.

    Args:
        place: this node's.
        patience: for how long.

    Raises:
        PeerLost: they are not, within that time.
    """
    until = time.monotonic() + patience.wait_s
    if place.node == 0:
        return _receive(place, until, patience)
    while time.monotonic() < until:
        fellows = _knock(place, until, patience)
        if fellows is not None:
            return fellows
        time.sleep(_AGAIN_S)
    raise PeerLost(
        f"node {place.node} of {place.nodes} has waited {patience.wait_s:.0f} s for the training to"
        f" begin: node 0 ({place.name}) was not there, or others were not"
    )


def _receive(place: Place, until: float, patience: Patience) -> Fellows:
    """The first node's part."""
    reception = Reception(place, patience)
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
        return Fellows(wires, meeting, patience)
    return Fellows(wires, meeting, patience, reception)


def _gather(reception: Reception, place: Place, until: float, patience: Patience) -> None:
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


def _knock(place: Place, until: float, patience: Patience) -> Fellows | None:
    """Another node's part: None if the first one is not there, or is gone before they begin."""
    try:
        address = (place.host, place.port)
        wire = Wire(socket.create_connection(address, timeout=patience.beat_s), patience)
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
                return Fellows([wire], Meeting(rest[0], host, *map(int, rest[1:])), patience)
        wire.say(BEAT)
    wire.close()
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
