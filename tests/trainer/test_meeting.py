"""Nodes meet, all or none, and hear when one of them goes."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from embedtune_trainer import meeting
from embedtune_trainer.errors import BadSpec, PeerLost
from embedtune_trainer.meeting import Fellows, meet
from embedtune_trainer.reception import Patience, Place

pytestmark = pytest.mark.slow

PATIENT = Patience(10)
SHORT_OF_BREATH = Patience(wait_s=10, beat_s=0.05, silence_s=0.5)


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


def place(node: int, port: int, nodes: int = 3, least: int | None = None) -> Place:
    return Place(node, nodes, least or nodes, "127.0.0.1", port)


def all_meet(
    threads: ThreadPoolExecutor, port: int, nodes: int = 3, patience: Patience = PATIENT
) -> list[Fellows]:
    coming = [threads.submit(meet, place(n, port, nodes), patience) for n in reversed(range(nodes))]
    return [future.result(10) for future in reversed(coming)]


def heard(fellows: Fellows) -> Event:
    event = Event()
    fellows.watch(event.set, event.clear)
    return event


def test_all_meet_under_one_name(threads: ThreadPoolExecutor, port: int) -> None:
    first, *others = all_meet(threads, port)
    assert {other.meeting.generation for other in others} == {first.meeting.generation}
    assert {(other.meeting.host, other.meeting.port) for other in others} == {
        ("127.0.0.1", first.meeting.port)
    }
    assert [f.meeting.rank for f in (first, *others)] == [0, 1, 2]
    for fellows in (first, *others):
        fellows.leave(well=True)


def test_none_begins_without_the_others(threads: ThreadPoolExecutor, port: int) -> None:
    coming = [threads.submit(meet, place(n, port), Patience(0.6)) for n in (0, 1)]
    with pytest.raises(PeerLost, match=r"of 3 nodes these did not come within 1 s: 2"):
        coming[0].result(10)
    with pytest.raises(PeerLost, match="node 1 of 3 has waited 1 s"):
        coming[1].result(10)


def test_the_first_one_may_come_last(threads: ThreadPoolExecutor, port: int) -> None:
    second = threads.submit(meet, place(1, port, 2), Patience(10))
    time.sleep(0.2)
    first = threads.submit(meet, place(0, port, 2), Patience(10))
    assert first.result(10).meeting.generation == second.result(10).meeting.generation


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


def test_a_silent_one_is_gone(threads: ThreadPoolExecutor, port: int) -> None:
    """Its machine is, or the network to it: no connection ends."""
    met = all_meet(threads, port, patience=SHORT_OF_BREATH)
    told = [heard(fellows) for fellows in met[:2]]  # the third says nothing
    assert all(event.wait(5) for event in told)


def test_who_breathes_stays(threads: ThreadPoolExecutor, port: int) -> None:
    met = all_meet(threads, port, patience=SHORT_OF_BREATH)
    told = [heard(fellows) for fellows in met]
    time.sleep(1.5)
    assert not any(event.is_set() for event in told)
    for fellows in met:
        fellows.leave(well=True)


def test_one_that_comes_anew_waits_for_the_next_meeting(
    threads: ThreadPoolExecutor, port: int
) -> None:
    first, *_ = all_meet(threads, port)
    anew: Future[Fellows] = threads.submit(meet, place(1, port), Patience(10))
    time.sleep(0.3)
    assert not anew.done(), "it has got into a meeting that was over"
    first.leave(well=False)
    again = [threads.submit(meet, place(n, port), Patience(10)) for n in (0, 2)]
    found = {future.result(10).meeting.generation for future in (anew, *again)}
    assert len(found) == 1
    assert first.meeting.generation not in found


def test_one_that_died_while_it_waited_is_not_counted(
    threads: ThreadPoolExecutor, port: int
) -> None:
    first = threads.submit(meet, place(0, port), Patience(10))
    time.sleep(0.2)
    for said in (f"127.0.0.1:{port} 1\n", f"127.0.0.1:{port} 9\n", "someone:1 2\n", "GET /\n"):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(said.encode())
    second = threads.submit(meet, place(2, port), Patience(10))
    time.sleep(0.3)
    assert not first.done()
    last = threads.submit(meet, place(1, port), Patience(10))
    assert len({future.result(10).meeting.generation for future in (first, second, last)}) == 1


def test_the_place_is_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBEDTUNE_NODES", raising=False)
    assert Place.of_environment() is None
    monkeypatch.setenv("EMBEDTUNE_NODES", "2")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    with pytest.raises(BadSpec, match="EMBEDTUNE_RENDEZVOUS"):
        Place.of_environment()
    monkeypatch.setenv("EMBEDTUNE_RENDEZVOUS", "tune-1-0.ftj-tune-1:29400")
    assert Place.of_environment() == Place(1, 2, 2, "tune-1-0.ftj-tune-1", 29400)
    monkeypatch.setenv("EMBEDTUNE_MIN_NODES", "1")
    assert Place.of_environment() == Place(1, 2, 1, "tune-1-0.ftj-tune-1", 29400)


SOON = Patience(wait_s=10, gather_s=0.3, stay_s=0.5, beat_s=0.05)


def some_meet(threads: ThreadPoolExecutor, port: int, *numbers: int) -> list[Fellows]:
    """Of four nodes, of which two are enough."""
    coming = [threads.submit(meet, place(n, port, 4, 2), SOON) for n in numbers]
    return [future.result(10) for future in coming]


def told(first: Fellows) -> tuple[Event, Event]:
    """What it will hear: that one has come, that one is lost."""
    come, lost = Event(), Event()
    first.watch(lost.set, come.set)
    return come, lost


def test_enough_begin_without_those_that_do_not_come(
    threads: ThreadPoolExecutor, port: int
) -> None:
    met = some_meet(threads, port, 0, 3, 1)
    assert [(f.meeting.rank, f.meeting.nodes) for f in met] == [(0, 3), (2, 3), (1, 3)]
    assert len({f.meeting.generation for f in met}) == 1
    for fellows in met:
        fellows.leave(well=True)


def test_too_few_do_not_begin(threads: ThreadPoolExecutor, port: int) -> None:
    coming = threads.submit(meet, place(0, port, 4, 2), Patience(1, 0.1, 0.5))
    with pytest.raises(PeerLost, match=r"of 4 nodes these did not come within 1 s: 1, 2, 3"):
        coming.result(10)


def test_the_first_may_begin_alone(threads: ThreadPoolExecutor, port: int) -> None:
    first = threads.submit(meet, place(0, port, 4, 1), SOON).result(10)
    assert (first.meeting.rank, first.meeting.nodes) == (0, 1)
    lost = heard(first)
    first.leave(well=True)
    assert not lost.is_set()


def test_one_that_comes_later_is_let_in_after_a_while(
    threads: ThreadPoolExecutor, port: int
) -> None:
    met = some_meet(threads, port, 0, 3)
    began = time.monotonic()
    come, lost = told(met[0])
    late: Future[Fellows] = threads.submit(meet, place(1, port, 4, 2), SOON)
    assert come.wait(5)
    assert time.monotonic() - began > 0.4, "those that train are left alone for a while"
    assert not late.done()
    assert not lost.is_set()
    for fellows in met:
        fellows.leave(well=False)
    again = some_meet(threads, port, 0, 3)
    assert late.result(10).meeting.generation == again[0].meeting.generation
    assert {f.meeting.nodes for f in again} == {3}


def test_nobody_is_let_in_for_one_that_came_and_went(
    threads: ThreadPoolExecutor, port: int
) -> None:
    met = some_meet(threads, port, 0, 3)
    come, lost = told(met[0])
    with socket.create_connection(("127.0.0.1", port)) as gone:
        gone.sendall(f"127.0.0.1:{port} 1\n".encode())
    time.sleep(1)
    assert not come.is_set()
    assert not lost.is_set()
    met[1].leave(well=False)
    assert lost.wait(5)
