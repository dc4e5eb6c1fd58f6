"""Nodes meet, all or none, and hear when one of them goes."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from embedtune_trainer import meeting
from embedtune_trainer.errors import BadSpec, PeerLost
from embedtune_trainer.meeting import Fellows, Place, meet


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(meeting, "_AGAIN_S", 0.02)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def place(node: int, port: int, nodes: int = 3) -> Place:
    return Place(node, nodes, "127.0.0.1", port)


def all_meet(threads: ThreadPoolExecutor, port: int, nodes: int = 3) -> list[Fellows]:
    coming = [threads.submit(meet, place(n, port, nodes), 10) for n in reversed(range(nodes))]
    return [future.result(10) for future in reversed(coming)]


def heard(fellows: Fellows) -> Event:
    event = Event()
    fellows.watch(event.set)
    return event


def test_all_meet_under_one_name(threads: ThreadPoolExecutor, port: int) -> None:
    first, *others = all_meet(threads, port)
    assert {other.generation for other in others} == {first.generation}
    assert {(other.host, other.port) for other in others} == {("127.0.0.1", first.port)}
    for fellows in (first, *others):
        fellows.leave(well=True)


def test_none_begins_without_the_others(threads: ThreadPoolExecutor, port: int) -> None:
    coming = [threads.submit(meet, place(n, port), 0.6) for n in (0, 1)]
    with pytest.raises(PeerLost, match=r"of 3 nodes these did not come within 1 s: 2"):
        coming[0].result(10)
    with pytest.raises(PeerLost, match="node 1 of 3 has waited 1 s"):
        coming[1].result(10)


def test_the_first_one_may_come_last(threads: ThreadPoolExecutor, port: int) -> None:
    second = threads.submit(meet, place(1, port, 2), 10)
    time.sleep(0.2)
    first = threads.submit(meet, place(0, port, 2), 10)
    assert first.result(10).generation == second.result(10).generation


@pytest.mark.parametrize("goer", [0, 2])
def test_all_hear_when_one_goes(threads: ThreadPoolExecutor, port: int, goer: int) -> None:
    met = all_meet(threads, port)
    told = [heard(fellows) for fellows in met]
    met[goer].leave(well=False)
    for node, event in enumerate(told):
        assert event.wait(5) == (node != goer)
        assert met[node].lost.is_set() == (node != goer)


def test_a_farewell_is_no_loss(threads: ThreadPoolExecutor, port: int) -> None:
    met = all_meet(threads, port)
    told = [heard(fellows) for fellows in met]
    for fellows in reversed(met):
        fellows.leave(well=True)
    time.sleep(0.3)
    assert not any(event.is_set() for event in told)


def test_a_silent_one_is_gone(
    threads: ThreadPoolExecutor, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine is, or the network to it: no connection ends."""
    monkeypatch.setattr(meeting, "BEAT_S", 0.05)
    monkeypatch.setattr(meeting, "SILENCE_S", 0.5)
    met = all_meet(threads, port)
    told = [heard(fellows) for fellows in met[:2]]  # the third says nothing
    assert all(event.wait(5) for event in told)


def test_who_breathes_stays(
    threads: ThreadPoolExecutor, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "BEAT_S", 0.05)
    monkeypatch.setattr(meeting, "SILENCE_S", 0.5)
    met = all_meet(threads, port)
    told = [heard(fellows) for fellows in met]
    time.sleep(1.5)
    assert not any(event.is_set() for event in told)
    for fellows in met:
        fellows.leave(well=True)


def test_one_that_comes_anew_waits_for_the_next_meeting(
    threads: ThreadPoolExecutor, port: int
) -> None:
    first, *_ = all_meet(threads, port)
    anew: Future[Fellows] = threads.submit(meet, place(1, port), 10)
    time.sleep(0.3)
    assert not anew.done(), "it has got into a meeting that was over"
    first.leave(well=False)
    again = [threads.submit(meet, place(n, port), 10) for n in (0, 2)]
    found = {future.result(10).generation for future in (anew, *again)}
    assert len(found) == 1
    assert first.generation not in found


def test_one_that_died_while_it_waited_is_not_counted(
    threads: ThreadPoolExecutor, port: int
) -> None:
    first = threads.submit(meet, place(0, port), 10)
    time.sleep(0.2)
    for said in (f"127.0.0.1:{port} 1\n", f"127.0.0.1:{port} 9\n", "someone:1 2\n", "GET /\n"):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(said.encode())
    second = threads.submit(meet, place(2, port), 10)
    time.sleep(0.3)
    assert not first.done()
    last = threads.submit(meet, place(1, port), 10)
    assert len({future.result(10).generation for future in (first, second, last)}) == 1


def test_the_place_is_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBEDTUNE_NODES", raising=False)
    assert Place.of_environment() is None
    monkeypatch.setenv("EMBEDTUNE_NODES", "2")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    with pytest.raises(BadSpec, match="EMBEDTUNE_RENDEZVOUS"):
        Place.of_environment()
    monkeypatch.setenv("EMBEDTUNE_RENDEZVOUS", "tune-1-0.ftj-tune-1:29400")
    assert Place.of_environment() == Place(1, 2, "tune-1-0.ftj-tune-1", 29400)
