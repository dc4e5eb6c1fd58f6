"""What the processes of a run say to each other, and what each of them has of its own."""

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from embedtune_api.contract import ENV_NODES, ExitCode
from embedtune_trainer import launch
from embedtune_trainer.checkpoints.files import hardware as checkpoint_hardware
from embedtune_trainer.checkpoints.shared import from_main
from embedtune_trainer.errors import BadData, BadSpec, PeerLost
from embedtune_trainer.failures import EndedElsewhere
from embedtune_trainer.processes import ALONE, Processes
from embedtune_trainer.reporting.hardware import hardware
from embedtune_trainer.sources.beside import FetchedBeside

STATE = {
    "weight": torch.arange(6.0).reshape(2, 3).t(),
    "scalar": torch.tensor(3),
    "half": torch.tensor([1.5, -2], dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "none": torch.empty(0, 4),
    "rows": np.arange(5),
    "told": {"best": None, "waited": 2, "loss": float("inf")},
}
MODEL = {
    "uri": "s3://models/tuned/search/tune/uid/",
    "digest": "sha256:" + "ab" * 32,
    "sizeBytes": 91_000_000,
    "embeddingDim": 384,
    "baseModel": "s3://bases/minilm",
}


def said(processes: Processes, folder: Path) -> None:
    """What works."""
    assert processes.on_main(lambda: f"of {processes.rank}") == "of 0"
    assert [processes.any(processes.rank == n) for n in (0, 1, 2)] == [True, True, False]
    with pytest.raises(BadData, match="the main one"):
        processes.on_main(lambda: refuse(BadData("the main one")))
    step, state = from_main((7, STATE) if processes.is_main else None, processes) or (0, {})
    assert step == 7
    for name in ("weight", "scalar", "half", "flags", "none"):
        assert torch.equal(state[name], STATE[name])
        assert state[name].dtype == STATE[name].dtype
    assert state["weight"].stride() == STATE["weight"].stride()
    assert np.array_equal(state["rows"], STATE["rows"])
    assert state["told"] == STATE["told"]
    assert from_main(None, processes) is None
    with processes.node_first():
        there = (folder / "fetched").exists()
        assert there == (processes.local_rank > 0)
        time.sleep(0.2)
        (folder / "fetched").touch()


def refuse(error: Exception) -> None:
    raise error


def the_other_fails(processes: Processes, folder: Path) -> None:
    """Each ends by the failure of the second, whatever it was doing."""
    if processes.rank == 1:
        raise BadSpec("spec.x: wrong in this process")
    try:
        processes.barrier()
    except PeerLost as lost:
        (folder / "lost").write_text(str(lost))
        raise


def compiles(processes: Processes, _folder: Path) -> None:
    """Modules of torch's are imported that have the group as a default of their functions."""
    import torch._dynamo

    assert torch._dynamo is not None
    assert processes.any(True)


def threads() -> list[str]:
    """Names of this process's threads."""
    return [each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm")]


def in_a_process(rank: int, port: int, work: object, folder: Path) -> None:
    os.environ |= {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"},
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"},
    }
    torch.set_num_threads(1)
    processes, code = Processes.of_environment(), 0
    try:
        with processes.joined():
            work(processes, folder)  # type: ignore[operator]
    except Exception as error:
        (folder / f"error-{rank}").write_text(repr(error))
        if rank == 0:
            time.sleep(0.1)
        code = 1
    (folder / f"threads-{rank}").write_text("\n".join(threads()))
    sys.exit(code)


def two(work: object, folder: Path) -> list[SpawnProcess]:
    """Run it in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=in_a_process, args=(n, port, work, folder)) for n in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    return started


@pytest.mark.slow
def test_what_they_say_to_each_other(tmp_path: Path) -> None:
    assert [process.exitcode for process in two(said, tmp_path)] == [0, 0], list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_that_fails_ends_the_other_with_its_ending(tmp_path: Path) -> None:
    assert [process.exitcode for process in two(the_other_fails, tmp_path)] == [1, 1]
    assert "another process" in (tmp_path / "lost").read_text()
    assert "spec.x: wrong in this process" in (tmp_path / "error-0").read_text()
    assert (tmp_path / "error-0").read_text().startswith(EndedElsewhere.__name__)
    assert (tmp_path / "error-1").read_text().startswith(BadSpec.__name__)


@pytest.mark.slow
@pytest.mark.parametrize(("work", "code"), [(compiles, 0), (the_other_fails, 1)])
def test_no_thread_of_the_group_outlives_it(tmp_path: Path, work: object, code: int) -> None:
    """One that holds a tensor when Python ends aborts the process, and the pod with it."""
    assert [process.exitcode for process in two(work, tmp_path)] == [code, code]
    for rank in (0, 1):
        assert "gloo" not in (tmp_path / f"threads-{rank}").read_text()


def test_alone(tmp_path: Path) -> None:
    with ALONE.joined(), ALONE.node_first():
        assert ALONE.on_main(lambda: 3) == 3
        assert ALONE.any(True)
        assert not ALONE.any(False)
    assert ALONE.is_main
    assert ALONE.folder(tmp_path) == tmp_path
    assert from_main((1, STATE), ALONE) == (1, STATE)


def test_their_number_is_part_of_what_a_run_ran_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    alone = checkpoint_hardware(cpu)
    assert "Processes" not in hardware()
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    assert checkpoint_hardware(cpu) == f"{alone}, 2 processes"
    assert hardware()["Processes"] == "2, each with the above"


def test_the_environment_is_torchruns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert Processes.of_environment() == ALONE
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(BadSpec, match="LOCAL_RANK"):
        Processes.of_environment()
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    found = Processes.of_environment()
    assert found == Processes(3, 4, 1, 2)
    assert found.folder(tmp_path) == tmp_path / "process-1"
    assert not found.is_main


@pytest.mark.parametrize(
    ("seen", "taken"),
    [(None, "1"), ("4,7", "7"), ("GPU-a,GPU-b,GPU-c", "GPU-b"), ("5", ""), ("", "")],
)
def test_each_sees_a_gpu_of_its_own(
    seen: str | None, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    Processes(3, 4, 1, 2)._take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == taken


@dataclass
class Failure:
    """As torchrun tells it."""

    exitcode: int
    timestamp: int


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([(66, 10)], 66),
        ([(81, 11), (66, 10)], 66),
        ([(-signal.SIGTERM, 9), (82, 10)], 82),
        ([(81, 10), (-signal.SIGKILL, 10)], 137),
        ([(66, 10), (-signal.SIGKILL, 40)], 66),
        ([(-signal.SIGTERM, 10)], 143),
    ],
)
def test_the_first_failure_gives_the_exit_code(failures: list[tuple[int, int]], code: int) -> None:
    told = {rank: Failure(*failure) for rank, failure in enumerate(failures)}
    assert launch.exit_code(told) == code  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("failures", "code"),
    [([(65, 10), (-signal.SIGKILL, 40)], 65), ([(-signal.SIGKILL, 40)], None)],
    ids=["failed-before", "killed-with-the-others"],
)
def test_what_failed_before_another_node_went_is_told(
    failures: list[tuple[int, int]], code: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher killed what was left at 40, since another node was gone."""
    told: dict[int, Any] = {rank: Failure(*failure) for rank, failure in enumerate(failures)}
    error = ChildFailedError.__new__(ChildFailedError)
    error.failures = told
    monkeypatch.setattr("torch.distributed.run.run", lambda _: refuse(error))
    if code is None:
        with pytest.raises(PeerLost, match="another node is gone"):
            launch._run(["script.py"], [40.5])
    else:
        assert launch._run(["script.py"], [40.5]) == code
    assert launch._run(["script.py"]) == (code or 137)


class Counting:
    """A store that fetches by writing a file."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def fetch_file(self, uri: str, target: Path) -> Path:
        self.fetched.append(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(uri)
        return target

    def fetch_folder(self, uri: str, target: Path, names: object = None) -> Path:
        return self.fetch_file(uri, target / "a").parent


def test_what_the_first_process_has_is_not_fetched_again(tmp_path: Path) -> None:
    first, own, store = tmp_path, tmp_path / "process-1", Counting()
    store.fetch_file("s3://b/rows", first / "data/1")
    store.fetch_folder("s3://b/base", first / "model")
    beside = FetchedBeside(store, own, first)  # type: ignore[arg-type]
    assert beside.fetch_file("s3://b/rows", own / "data/1") == first / "data/1"
    assert beside.fetch_folder("s3://b/base", own / "model") == first / "model"
    assert store.fetched == ["s3://b/rows", "s3://b/base"]
    assert beside.fetch_file("s3://b/other", own / "data/2") == own / "data/2"


@pytest.mark.parametrize(
    ("last_word", "code"),
    [
        ("", ExitCode.INTERRUPTED),
        ('{"version": 1, "failure": {"reason": "Interrupted", "message": "stopped"}}', 81),
        (json.dumps({"version": 1, "model": MODEL}), ExitCode.DONE),
    ],
)
def test_one_told_to_stop_that_has_put_its_model_in_place_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_word: str, code: int
) -> None:
    from torch.distributed.elastic.multiprocessing.api import SignalException

    def stopped(_arguments: object) -> None:
        raise SignalException("told to stop", signal.SIGTERM)

    monkeypatch.setattr("torch.distributed.run.run", stopped)
    monkeypatch.delenv(ENV_NODES, raising=False)
    said = tmp_path / "termination-log"
    said.write_text(last_word)
    assert launch.main(["-m", "embedtune_trainer", f"--termination-log={said}"]) == code
