"""A process is only ever signalled when it is beyond doubt the one that was started."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster.processes import Command, Supervisor, descendants, identify

SLEEPER = Command("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "run", tmp_path / "logs", die_with_parent=True)
    yield supervisor
    for name in supervisor.names():
        supervisor.stop(name, grace_s=0)


def test_starting_twice_keeps_the_process(supervisor: Supervisor) -> None:
    assert supervisor.start(SLEEPER) == supervisor.start(SLEEPER)


def test_another_command_line_replaces_it(supervisor: Supervisor) -> None:
    first = supervisor.start(SLEEPER)
    second = supervisor.start(Command("sleeper", [*SLEEPER.argv, "more"]))
    assert identify(first.pid) != first
    assert supervisor.running("sleeper") == second


@pytest.mark.parametrize(
    "change", [{"start_ticks": 1}, {"boot_id": "another boot"}, {"program": "etcd"}]
)
def test_a_reused_pid_is_not_ours_and_is_not_killed(
    supervisor: Supervisor, change: dict[str, Any]
) -> None:
    real = supervisor.start(SLEEPER)
    record = supervisor.run_dir / "sleeper.json"
    content = json.loads(record.read_text())
    content["identity"] = dataclasses.asdict(dataclasses.replace(real, **change))
    record.write_text(json.dumps(content))
    assert supervisor.running("sleeper") is None
    assert not supervisor.stop("sleeper")
    assert identify(real.pid) == real
    os.kill(real.pid, 9)


def test_a_broken_record_is_no_process(supervisor: Supervisor) -> None:
    supervisor.run_dir.mkdir(parents=True)
    (supervisor.run_dir / "sleeper.json").write_text("{")
    assert supervisor.running("sleeper") is None


def test_a_zombie_does_not_run() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 10
    while identify(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert identify(child.pid) is None
    child.wait()


def test_kill_leaves_the_record_and_start_brings_it_back(supervisor: Supervisor) -> None:
    first = supervisor.start(SLEEPER)
    assert supervisor.kill("sleeper")
    assert supervisor.names() == ["sleeper"]
    assert supervisor.running("sleeper") is None
    assert supervisor.start(SLEEPER) != first


def test_strays_are_found_by_what_they_work_on(supervisor: Supervisor, tmp_path: Path) -> None:
    told = Command("sleeper", [*SLEEPER.argv, f"--data={tmp_path}/data"])
    stray = supervisor.start(told)
    assert supervisor.strays({stray.program}, tmp_path) == []
    (supervisor.run_dir / "sleeper.json").unlink()
    assert supervisor.strays({stray.program}, tmp_path) == [stray]
    assert supervisor.strays({"etcd"}, tmp_path) == []
    os.kill(stray.pid, 9)


def test_it_dies_with_the_one_who_started_it(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from localcluster.processes import Command, Supervisor\n"
        f"s = Supervisor(Path({str(tmp_path)!r}), Path({str(tmp_path)!r}), die_with_parent=True)\n"
        "print(s.start(Command('x', ['/bin/sleep', '600'])).pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    local = Path(__file__).resolve().parents[2] / "local"
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(local)},
    )
    pid = int(done.stdout)
    deadline = time.monotonic() + 5
    while identify(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert identify(pid) is None


def test_descendants_are_found() -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "sleep 600 & wait"])
    deadline = time.monotonic() + 5
    while not (found := [p for p in descendants(child.pid) if p.program != "sh"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found[0].pid in {p.pid for p in descendants(os.getpid())}
    os.kill(found[0].pid, 9)
    child.wait()
