"""A sample of the fault matrix; all of it is `make faults`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from localcluster.controlplane import ControlPlane
from tests.faults.matrix import Lab
from tests.faults.proxy import ANSWERS, KILLS, in_words
from tests.faults.recorder import Life
from tests.faults.watch_faults import Collapsed, Gone, Stale, WatchFault

LIFE = "failed"
STATUS_AND_CHILD = (1, 2, 8)
"""The child Job, the first status, and the last one."""


@pytest.fixture
async def lab(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Lab]:
    async with Lab(plane, tmp_path) as lab:
        yield lab


@pytest.mark.controlplane
async def test_some_writes_of_a_life(lab: Lab) -> None:
    async with lab.shared([LIFE]):
        writes = lab.calm[LIFE].writes
        assert [writes[n] for n in STATUS_AND_CHILD] == [
            "post jobs",
            "status Created",
            "status BadData",
        ]
        done = [
            await lab.answered(LIFE, number, fault)
            for number, fault in zip(STATUS_AND_CHILD, ANSWERS[-3:], strict=True)
        ]
    done += [await lab.killed(LIFE, number, KILLS[1]) for number in STATUS_AND_CHILD[1:]]
    assert [outcome for outcome in done if outcome.wrong or outcome.missed] == []


@pytest.mark.controlplane
@pytest.mark.parametrize("fault", [Gone, Collapsed, Stale])
async def test_some_faults_of_watches(lab: Lab, fault: type[WatchFault]) -> None:
    async with lab.shared([LIFE]):
        pass
    (outcome,) = await lab.watched(fault, [LIFE])
    assert outcome.wrong == ""


def test_a_taken_back_condition_is_seen() -> None:
    over = {
        "type": "Complete",
        "status": "True",
        "reason": "a",
        "message": "",
        "lastTransitionTime": 1,
    }
    life = Life()
    for status in ({}, {"conditions": [over]}, {"conditions": [over]}):
        life.statuses.append(status)
    assert life.latched()
    life.statuses.append({"conditions": [over | {"status": "False"}]})
    assert not life.latched()
    life.statuses[-1] = {"conditions": [over | {"message": "b"}]}
    assert not life.latched()


def test_writes_are_told_apart() -> None:
    job = "/apis/embedtune.dev/v1alpha1/namespaces/a/finetunejobs/tune"
    assert (
        in_words("PATCH", f"{job}/status", b'{"status": {"reason": "Created"}}') == "status Created"
    )
    assert in_words("PATCH", job, b'{"metadata": {"finalizers": ["a"]}}') == "finalizer on"
    assert (
        in_words("POST", "/api/v1/namespaces/a/events", b'{"reason": "Created"}') == "event Created"
    )
    child = "/apis/batch/v1/namespaces/a/jobs/tune-1"
    assert in_words("POST", "/apis/batch/v1/namespaces/a/jobs", b"{}") == "post jobs"
    assert in_words("PATCH", child, b'{"spec": {"suspend": true}}') == "change jobs suspend"
