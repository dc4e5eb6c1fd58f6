"""Two nodes, each with a launcher as its pod has it, on this machine: they train as one does."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from embedtune_api.contract import (
    ENV_MIN_NODES,
    ENV_NODE,
    ENV_NODES,
    ENV_RENDEZVOUS,
    ExitCode,
    TrainResult,
)
from embedtune_trainer.launch import ENV_PATIENCE
from tests.trainer import tiny
from tests.trainer.checkpoints.kill import newest, weights
from tests.trainer.checkpoints.kinds import put_out
from tests.trainer.checkpoints.test_together import MODEL, without_dropout

pytestmark = pytest.mark.slow
PATIENCE_S = 300
"""For starting, on a machine that has much else to do."""


@dataclass
class Node:
    """A pod's launcher, and what it left."""

    process: subprocess.Popen[bytes]
    log: Path
    last_word: Path

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def result(self) -> TrainResult:
        return TrainResult.model_validate_json(self.last_word.read_text())


@dataclass
class Nodes:
    """A job that two nodes run."""

    folder: Path
    job: dict[str, Any]
    wait_s: float = PATIENCE_S
    least: int = 2
    started: list[Node] = field(default_factory=list)
    port: int = 0

    def meet_anew(self) -> None:
        """As new pods: the first has a new address."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self, number: int, *arranged: object) -> Node:
        if not self.port:
            self.meet_anew()
        own = self.folder / f"node-{number}"
        own.mkdir(exist_ok=True)
        file = tiny.write_job(own / "job.json", self.job)
        last_word, log = own / "termination-log", own / "log"
        last_word.write_text("")
        module = (
            ("tests.trainer.checkpoints.arranged", *arranged)
            if arranged
            else ("embedtune_trainer",)
        )
        with log.open("wb") as said:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "embedtune_trainer.launch", "--nproc-per-node", "1"),
                    *("-m", *map(str, module), f"--job={file}", f"--work-dir={own / 'work'}"),
                    *(f"--termination-log={last_word}", "--metrics-port=0"),
                ],
                stdout=said,
                stderr=said,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    ENV_NODES: "2",
                    ENV_NODE: str(number),
                    ENV_RENDEZVOUS: f"127.0.0.1:{self.port}",
                    ENV_MIN_NODES: str(self.least),
                    ENV_PATIENCE: f"{self.wait_s},1,1",
                },
            )
        self.started.append(Node(process, log, last_word))
        return self.started[-1]

    def both(self, *arranged: object) -> tuple[Node, Node]:
        self.meet_anew()
        return self.start(0, *arranged), self.start(1, *arranged)

    @property
    def out(self) -> Path:
        return self.folder / "out"


def let_end(nodes: Nodes) -> None:
    for node in nodes.started:
        if node.process.poll() is None:
            kill_all_of(node)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A job that two nodes have run undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    job = without_dropout("labelled", folder / "run", epochs=4)
    found = Nodes(folder, put_out(job, folder / "out"))
    assert ended(*found.both()) == [0, 0]
    yield found
    let_end(found)


@pytest.fixture
def nodes(whole: Nodes, tmp_path: Path) -> Iterator[Nodes]:
    """The same job with an output of its own."""
    found = Nodes(tmp_path, put_out(whole.job, tmp_path / "out"))
    yield found
    let_end(found)


def alone(nodes: Nodes) -> Path:
    """What one process makes of the same job."""
    file = tiny.write_job(nodes.folder / "alone.json", put_out(nodes.job, nodes.folder / "alone"))
    subprocess.run(
        [sys.executable, "-m", "embedtune_trainer.cli", "run", str(file)],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return nodes.folder / "alone"


def ended(*pair: Node) -> list[int]:
    codes = [node.wait() for node in pair]
    for node in pair:
        print(node.said)
    return codes


def test_two_nodes_give_what_one_process_gives(whole: Nodes) -> None:
    first, second = whole.started
    assert first.result.model is not None
    assert second.last_word.read_text() == "", "only the first node tells the result"
    assert first.said.count("published uri=") == 1
    assert "published uri=" not in second.said
    assert most_apart(alone(whole), whole.out) < 1e-6


def most_apart(one: Path, other: Path) -> float:
    """The greatest difference of any two weights of two models."""
    pairs = zip(
        *(sorted((root / MODEL).rglob("*.safetensors")) for root in (one, other)), strict=True
    )
    apart = []
    for first, second in pairs:
        expected, found = load_file(first), load_file(second)
        apart += [float((found[n] - expected[n]).abs().max()) for n in expected]
    return max(apart)


def test_one_that_comes_late_trains_with_the_first_from_a_checkpoint(
    whole: Nodes, nodes: Nodes
) -> None:
    nodes.least = 1
    first = nodes.start(0, "slow", 0, 2)
    deadline = time.monotonic() + PATIENCE_S
    while not newest(nodes.out):
        assert time.monotonic() < deadline, first.said
        time.sleep(0.05)
    late = nodes.start(1)
    assert first.wait() == ExitCode.INTERRUPTED, first.said
    assert first.result.failure is not None
    assert first.result.failure.reason == "Regrouped"
    there = newest(nodes.out)
    again = nodes.start(0)
    assert ended(again, late) == [0, 0]
    assert again.said.count(f"going on from a checkpoint step={there}") == 1
    assert most_apart(whole.out, nodes.out) < 1e-6


@pytest.mark.parametrize("victim", [0, 1])
def test_a_pod_that_is_killed_ends_the_other_and_both_go_on(
    whole: Nodes, nodes: Nodes, victim: int
) -> None:
    """The launcher is the first process of its container: with it, all of them are killed."""
    pair = nodes.both("slow", victim, 6)
    deadline = time.monotonic() + PATIENCE_S
    while not newest(nodes.out):
        assert time.monotonic() < deadline, [node.said for node in pair]
        time.sleep(0.05)
    kill_all_of(pair[victim])
    killed_at = time.monotonic()
    other = pair[1 - victim]
    assert other.wait() == ExitCode.INTERRUPTED, other.said
    assert time.monotonic() - killed_at < 30
    assert other.result.failure is not None
    assert other.result.failure.reason == "PeerLost"
    there = newest(nodes.out)
    again = nodes.both()
    assert ended(*again) == [0, 0]
    assert again[0].said.count(f"going on from a checkpoint step={there}") == 1
    assert weights(nodes.out) == weights(whole.out)


def kill_all_of(node: Node) -> None:
    """As the kernel does with a container when its first process is killed."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == node.process.pid:
            children.append(int(stat.parent.name))
    node.process.kill()
    for child in children:
        os.kill(child, signal.SIGKILL)
    node.process.wait()


@pytest.mark.parametrize("told", [0, 1])
def test_a_pod_that_is_told_to_stop_leaves_a_checkpoint(nodes: Nodes, told: int) -> None:
    nodes.job["spec"]["runPolicy"] = {}  # no other checkpoint
    pair = nodes.both("sigterm", told, 5)
    assert ended(*pair) == [ExitCode.INTERRUPTED, ExitCode.INTERRUPTED]
    reasons = [node.result.failure.reason for node in pair if node.result.failure]
    assert reasons[1 - told] == "PeerLost", "it was not told itself"
    assert pair[0].said.count("checkpoint written") == 1
    assert 5 <= newest(nodes.out) <= 8


@pytest.mark.parametrize(
    ("what", "culprit", "code", "reason"),
    [
        ("raise", 1, 82, "InternalError"),
        ("nan", 1, 69, "Diverged"),
    ],
)
def test_one_failure_is_one_pods(
    nodes: Nodes, what: str, culprit: int, code: int, reason: str
) -> None:
    """The others are not counted as failed: they end as ones that have lost a peer."""
    pair = nodes.both(what, culprit, 3)
    codes = ended(*pair)
    if what == "nan":  # the first node finds it, whoever it came from
        culprit = 0
    assert codes[culprit] == code
    assert codes[1 - culprit] == ExitCode.INTERRUPTED
    failures = [node.result.failure for node in pair]
    assert [failure.reason for failure in failures if failure] == (
        [reason, "PeerLost"] if culprit == 0 else ["PeerLost", reason]
    )


def test_a_node_that_hangs_is_ended_with_the_others(nodes: Nodes) -> None:
    """As in a collective on GPUs that never returns: nothing but the launcher would end it."""
    pair = nodes.both("stop", 1, 3)
    deadline = time.monotonic() + PATIENCE_S
    while "step=1" not in pair[0].said and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    kill_all_of(pair[0])
    begun = time.monotonic()
    assert pair[1].wait() == ExitCode.INTERRUPTED, pair[1].said
    assert time.monotonic() - begun < 30
    assert pair[1].result.failure is not None
    assert pair[1].result.failure.reason == "PeerLost"


def test_one_alone_waits_and_is_worth_a_retry(nodes: Nodes) -> None:
    nodes.wait_s = 1
    node = nodes.start(0)
    assert node.wait() == ExitCode.INTERRUPTED
    assert node.result.failure is not None
    assert node.result.failure.reason == "PeerLost"
    assert "did not come within 1 s: 1" in node.result.failure.message


def test_one_that_waits_can_be_told_to_stop(nodes: Nodes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        first.settimeout(PATIENCE_S)
        nodes.port = first.getsockname()[1]
        node = nodes.start(1)
        with first.accept()[0]:
            node.process.terminate()
            assert node.wait() == ExitCode.INTERRUPTED, node.said
    assert node.result.failure is not None
    assert node.result.failure.reason == "Interrupted"
