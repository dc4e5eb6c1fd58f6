"""A real control plane with a real operator process, and the test in the part of the kubelet.

No node runs anything: pods are bound to a node that is only an object, and the test writes what a
kubelet would say of them. The Job controller, the garbage collector and the API server are real.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from localcluster.apiclient import ApiClient, ApiError
from localcluster.controlplane import ControlPlane

T = TypeVar("T")
JsonObject = dict[str, Any]

NODE = "fake"
JOBS = "/apis/embedtune.dev/v1alpha1"
SPEC: JsonObject = {
    "model": {"backbone": "s3://bases/minilm"},
    "data": {"train": {"uri": "s3://datasets/train.csv"}},
    "output": {"uri": "s3://models/tuned"},
}


def eventually(
    look: Callable[[], T | None], *, what: str, timeout_s: float = 20.0, every_s: float = 0.02
) -> T:
    """The first truthy value that `look` gives."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(every_s)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def stamp() -> str:
    """Now, as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class OperatorProcess:
    """`python -m embedtune_operator` as a user's process."""

    def __init__(self, plane: ControlPlane, logs: Path, **env: str) -> None:
        self.port = free_port()
        self._logs = logs
        self._process: subprocess.Popen[bytes] | None = None
        self._env = os.environ | {
            "KUBECONFIG": str(plane.kubeconfig),
            "EMBEDTUNE_TRAINER_IMAGE": "trainer:test",
            "EMBEDTUNE_METRICS_PORT": str(self.port),
            "EMBEDTUNE_SCRAPE_INTERVAL_S": "0.3",
            "EMBEDTUNE_WATCH_TIMEOUT_S": "3",
            "EMBEDTUNE_SIZING": "false",
            **env,
        }

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        with self._logs.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "embedtune_operator"], env=self._env, stderr=log, stdout=log
            )
        if wait:
            eventually(
                lambda: self.get("/readyz")[0] == 200,
                what=f"ready; see {self._logs}",
                timeout_s=90,
            )

    def kill(self) -> None:
        """End it as the kernel would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as the kubelet would; its exit code."""
        return self._end(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code, once it ends by itself."""
        assert self._process is not None
        return self._process.wait(20)

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        return self._process.wait(20)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of its HTTP server; status 0 if there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def log(self) -> list[JsonObject]:
        """What it has logged, each whole line a JSON object."""
        whole = self._logs.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.split("\n") if line]

    def rss_mib(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kib) / 1024


class Namespace:
    """One namespace of the control plane, with what a user, a kubelet and a test do there."""

    def __init__(self, api: ApiClient, name: str) -> None:
        self.api = api
        self.name = name

    def create(self) -> "Namespace":
        """Make it, with the service account that pods need."""
        self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})
        eventually(lambda: self.find("serviceaccounts", "default"), what="a service account")
        return self

    def clear(self) -> None:
        """Delete its FineTuneJobs, and those that are held for their models, too."""
        for job in self.all("finetunejobs"):
            name = job["metadata"]["name"]
            try:
                if "finalizers" in job["metadata"]:
                    self.patch("finetunejobs", name, {"metadata": {"finalizers": None}})
                self.delete("finetunejobs", name)
            except ApiError as error:
                if error.status != 404:
                    raise

    def path(self, plural: str, name: str = "") -> str:
        """URL path."""
        ours = {"finetunejobs": JOBS, "finetuneruntimes": JOBS}
        api = (ours | {"jobs": "/apis/batch/v1"}).get(plural, "/api/v1")
        return f"{api}/namespaces/{self.name}/{plural}" + (f"/{name}" if name else "")

    def find(self, plural: str, name: str) -> JsonObject | None:
        """An object, or None."""
        try:
            return self.api.get(self.path(plural, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def all(self, plural: str) -> list[JsonObject]:
        """All objects."""
        items: list[JsonObject] = self.api.get(self.path(plural))["items"]
        return items

    def patch(self, plural: str, name: str, body: JsonObject) -> None:
        """Merge patch; the name may end with /status."""
        self.api.call("PATCH", self.path(plural, name), body)

    def delete(self, plural: str, name: str, *, how: str = "Background", grace_s: int = 0) -> None:
        """Delete."""
        body: JsonObject = {"propagationPolicy": how}
        if plural == "pods":
            body["gracePeriodSeconds"] = grace_s
        self.api.call("DELETE", self.path(plural, name), body)

    # what a user does

    def submit(
        self,
        name: str = "tune",
        *,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        **spec: Any,
    ) -> JsonObject:
        """Make a FineTuneJob."""
        body = {
            "apiVersion": "embedtune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {
                "name": name,
                "labels": labels or {},
                "annotations": annotations or {},
            },
            "spec": SPEC | spec,
        }
        made: JsonObject = json.loads(self.api.call("POST", self.path("finetunejobs"), body))
        return made

    def job(self, name: str = "tune") -> JsonObject:
        """The FineTuneJob."""
        return self.api.get(self.path("finetunejobs", name))

    def status(self, name: str = "tune") -> JsonObject:
        """Its status."""
        status: JsonObject = self.job(name).get("status", {})
        return status

    def wait_reason(self, reason: str, name: str = "tune", timeout_s: float = 20) -> JsonObject:
        """The status, once its reason is this."""

        def look() -> JsonObject | None:
            status = self.status(name)
            return status if status.get("reason") == reason else None

        try:
            return eventually(look, what=reason, timeout_s=timeout_s)
        except AssertionError:
            raise AssertionError(f"not {reason} but {self.status(name)}") from None

    def events(self) -> list[str]:
        """Reasons of the events on FineTuneJobs, oldest first."""
        events = [e for e in self.all("events") if e["involvedObject"]["kind"] == "FineTuneJob"]
        events.sort(key=lambda e: int(e["metadata"]["resourceVersion"]))
        return [e["reason"] for e in events]

    def wait_told(self, last: str) -> list[str]:
        """The same once the last is of this reason; an Event follows the status that it tells."""
        eventually(lambda: self.events()[-1:] == [last], what=f"the event {last}")
        return self.events()

    # what a kubelet does

    def child(self, timeout_s: float = 20) -> JsonObject:
        """The child Job, once there is one."""
        return eventually(lambda: self.all("jobs"), what="a child", timeout_s=timeout_s)[0]

    def pod(self, *, other_than: str = "") -> JsonObject:
        """The pod that goes on, once there is one."""

        def look() -> JsonObject | None:
            pods = [
                p
                for p in self.all("pods")
                if p["metadata"]["name"] != other_than
                and p["status"]["phase"] in ("Pending", "Running")
                and "deletionTimestamp" not in p["metadata"]
            ]
            return pods[0] if pods else None

        return eventually(look, what="a pod", timeout_s=40)

    def bind(self, pod: str, node: str = NODE) -> None:
        """Put a pod on a node."""
        body = {"metadata": {"name": pod}, "target": {"kind": "Node", "name": node}}
        self.api.call("POST", self.path("pods", f"{pod}/binding"), body)

    def tell(self, pod: str, state: JsonObject, *, phase: str, **status: Any) -> None:
        """Write a pod's status as a kubelet would."""
        container = {
            "name": "trainer",
            "image": "trainer:test",
            "imageID": "",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        body = {"phase": phase, "containerStatuses": [container], **status}
        self.patch("pods", f"{pod}/status", {"status": body})

    def run(self, pod: str, ip: str = "127.0.0.1") -> None:
        """The container runs."""
        running = {"running": {"startedAt": stamp()}}
        self.tell(pod, running, phase="Running", podIP=ip, podIPs=[{"ip": ip}])

    def wait_in(self, pod: str, reason: str, message: str = "") -> None:
        """The container is not made, for this reason."""
        self.tell(pod, {"waiting": {"reason": reason, "message": message}}, phase="Pending")

    def end(self, pod: str, code: int, message: str = "", reason: str = "", **status: Any) -> None:
        """The container ends."""
        ended = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "message": message,
            "startedAt": stamp(),
            "finishedAt": stamp(),
        }
        phase = "Failed" if code else "Succeeded"
        self.tell(pod, {"terminated": ended}, phase=phase, **status)

    def start_training(
        self, ip: str = "127.0.0.1", *, other_than: str = "", node: str = NODE
    ) -> str:
        """Bring the pod to where the trainer runs; its name."""
        pod: str = self.pod(other_than=other_than)["metadata"]["name"]
        self.bind(pod, node)
        self.run(pod, ip)
        return pod

    def result(self, name: str = "tune", **changes: Any) -> str:
        """A TrainResult for a job."""
        uid = self.job(name)["metadata"]["uid"]
        model = {
            "uri": f"s3://models/tuned/{self.name}/{name}/{uid}/",
            "digest": "sha256:" + "0" * 64,
            "sizeBytes": 90_000_000,
            "embeddingDim": 384,
            "baseModel": "s3://bases/minilm",
        }
        metrics = {
            "headline": {"name": "ndcg_at_10", "before": "0.61", "after": "0.78"},
            "before": {"ndcg_at_10": "0.61"},
            "after": {"ndcg_at_10": "0.78"},
        }
        return json.dumps({"version": 1, "model": model, "metrics": metrics} | changes)


def failure(reason: str, message: str) -> str:
    """What a trainer that fails says."""
    return json.dumps({"version": 1, "failure": {"reason": reason, "message": message}})


def condition(status: JsonObject, kind: str) -> JsonObject:
    """One condition."""
    found: JsonObject = next(c for c in status["conditions"] if c["type"] == kind)
    return found


def true_conditions(status: JsonObject) -> set[str]:
    """The conditions that hold."""
    return {c["type"] for c in status["conditions"] if c["status"] == "True"}
