"""What the operator knows of its own watches, and what it takes in besides them."""

import http.server
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.controlplane import APISERVER, ControlPlane
from tests.operator.world import Namespace, OperatorProcess, eventually

pytestmark = pytest.mark.controlplane

TRAINER_IP = "127.0.0.77"
PAGE = """
# TYPE embedtune_trainer_phase gauge
embedtune_trainer_phase{{phase="Loading"}} 0
embedtune_trainer_phase{{phase="Training"}} 1
embedtune_trainer_epoch 1
embedtune_trainer_step {step}
embedtune_trainer_steps 200
embedtune_trainer_loss 0.125
embedtune_trainer_samples_per_second 512.25
embedtune_trainer_eta_seconds 41.6
embedtune_trainer_data_wait_ratio 0.02
embedtune_trainer_gpu_memory_bytes 1048576
"""


class Trainer(http.server.BaseHTTPRequestHandler):
    step = 20

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(PAGE.format(step=Trainer.step).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def trainer() -> Iterator[type[Trainer]]:
    """A trainer's metrics on its own address."""
    server = http.server.ThreadingHTTPServer((TRAINER_IP, 8080), Trainer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Trainer
    server.shutdown()
    server.server_close()


def test_progress_is_read_from_the_trainer(
    operator: OperatorProcess, ns: Namespace, trainer: type[Trainer]
) -> None:
    ns.submit()
    pod = ns.start_training(TRAINER_IP)
    progress = eventually(lambda: ns.status().get("progress"), what="progress")
    assert progress == {
        "summary": "10%",
        "phase": "Training",
        "percent": 10,
        "epoch": 1,
        "step": 20,
        "steps": 200,
        "loss": "0.125",
        "samplesPerSecond": "512.2",
        "etaSeconds": 42,
    }
    version = ns.job()["metadata"]["resourceVersion"]
    time.sleep(1.0)
    assert ns.job()["metadata"]["resourceVersion"] == version, "nothing new, nothing written"

    trainer.step = 120
    eventually(lambda: ns.status()["progress"]["summary"] == "60%", what="news")
    ns.end(pod, 82, "a defect")
    status = ns.wait_reason("Retrying")
    assert "progress" not in status


def test_healthz_tells_of_dead_watches_and_of_their_return(
    plane: ControlPlane, operator: OperatorProcess, ns: Namespace
) -> None:
    assert operator.get("/healthz")[0] == 200
    server = plane.supervisor.running(APISERVER)
    assert server is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        eventually(lambda: operator.get("/healthz")[0] == 503, what="503", timeout_s=20)
        assert time.monotonic() - began > 4, "one slow answer is not death"
        said = "/finetunejobs not answered"
        eventually(lambda: said in operator.get("/healthz")[1], what=said)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    eventually(lambda: operator.get("/healthz")[0] == 200, what="200 again", timeout_s=30)
    ns.submit()
    assert ns.child()


def test_api_server_is_restarted_in_mid_job(
    plane: ControlPlane, operator: OperatorProcess, ns: Namespace
) -> None:
    ns.submit()
    pod = ns.start_training()
    ns.wait_reason("Training")
    result = ns.result()
    plane.kill_component(APISERVER)
    time.sleep(2)
    plane.start_component(APISERVER)
    plane.wait_ready()
    ns.end(pod, 0, result)
    ns.wait_reason("Succeeded", timeout_s=40)
    assert len(ns.all("jobs")) == 1


def test_metrics(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    ns.end(ns.start_training(), 0, ns.result())
    ns.wait_reason("Succeeded")
    eventually(lambda: "embedtune_queue_depth 0.0" in operator.get("/metrics")[1], what="rest")
    code, page = operator.get("/metrics")
    assert code == 200
    for line in (
        'embedtune_jobs{reason="Succeeded",state="Complete"}',
        'embedtune_watch_age_seconds{kind="Pod",namespace=""}',
        'embedtune_api_calls_total{code="200",verb="WATCH"}',
        'embedtune_api_calls_total{code="201",verb="POST"}',
        "embedtune_seen_to_child_seconds_count",
        "embedtune_finished_to_status_seconds_count",
        "embedtune_reconcile_seconds_count",
        "embedtune_created_to_running_seconds_count",
        'embedtune_jobs_finished_total{reason="Succeeded",state="Complete"}',
    ):
        assert line in page


def test_at_rest_it_makes_no_calls_but_its_watches(
    operator: OperatorProcess, ns: Namespace
) -> None:
    for number in range(5):
        ns.submit(f"job-{number}")
    eventually(lambda: len(ns.all("jobs")) == 5, what="children")
    time.sleep(12)  # the last decision that is due is that no pod came

    def calls() -> dict[str, float]:
        lines = [
            line
            for line in operator.get("/metrics")[1].splitlines()
            if line.startswith("embedtune_api_calls_total") and "WATCH" not in line
        ]
        return {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines}

    before = calls()
    time.sleep(8)
    assert calls() == before


def test_wrong_settings_are_named(plane: ControlPlane, tmp_path: Path) -> None:
    log = tmp_path / "log"
    wrong = OperatorProcess(plane, log, EMBEDTUNE_DEFAULT_MEMORY="lots")
    wrong.start(wait=False)
    assert wrong.wait() == 2
    assert "EMBEDTUNE_DEFAULT_MEMORY is 'lots'" in log.read_text()
