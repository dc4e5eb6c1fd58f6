"""The cluster of one system: a control plane of its own, KWOK's nodes, the system's processes.

Each system gets a new one, with the same options: nothing that another left behind can slow it. The
controllers' and the scheduler's own limits of calls are lifted, or they would be what is measured.
Each process of the system is a user of its own, so that the audit log tells whose call a call is.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path

from localcluster.apiclient import answers
from localcluster.controlplane import (
    APISERVER,
    CONTROLLER_MANAGER,
    ETCD,
    SCHEDULER,
    ControlPlane,
    Options,
)
from localcluster.kubeconfig import write_kubeconfig
from localcluster.pki import Certificate
from localcluster.processes import Command, Supervisor
from localcluster.tools import tool
from scale_parts import fleet
from scale_parts.kubeflow import CERTIFICATES, WEBHOOK
from scale_parts.systems import NAMESPACE, JsonObject, System

BENCH = Path(__file__).resolve().parents[1]
PYTHONPATH = os.pathsep.join(
    str(folder)
    for folder in (BENCH, *(BENCH.parent / name for name in ("crds", "operator", "local")))
)
"""Of the bench's Python processes: they begin in another folder, and are of this checkout."""
ADMINISTRATORS = "system:masters"
GOGC = "400"
"""Of the control plane and KWOK, not of what is measured: their heaps are small here, and the API
server spends a third of its processor time on collecting them as often as by default."""


class BenchPlane(ControlPlane):
    """A control plane whose controllers and scheduler may make so many calls a second.

    Its processes collect their garbage less often than by default.
    """

    def __init__(self, folder: Path, options: Options, qps: int) -> None:
        super().__init__(folder, options=options)
        self.supervisor.environment["GOGC"] = GOGC
        limits = (f"--kube-api-qps={qps}", f"--kube-api-burst={qps}")
        self._flags = {
            ETCD: (f"--quota-backend-bytes={8 << 30}",),
            CONTROLLER_MANAGER: (*limits, "--concurrent-job-syncs=20"),
            SCHEDULER: limits,
        }

    def command(self, name: str) -> Command:
        """The command line of a component."""
        usual = super().command(name)
        return Command(usual.name, [*usual.argv, *self._flags.get(name, ())])


class Cluster:
    """A control plane with KWOK and one system; a context manager.

    Attributes:
        plane: the control plane.
        audit_log: the system's calls, one JSON object a line.
        pids: of every process, by its name.
    """

    def __init__(self, system: System, folder: Path, qps: int) -> None:
        self.system = system
        self.audit_log = folder / "audit.log"
        policy = folder / "audit-policy.json"
        policy.write_text(json.dumps(_audit_policy(system)))
        users = tuple(Certificate(user, user, ADMINISTRATORS) for user in system.users)
        self.plane = BenchPlane(
            folder,
            options=Options(
                controller_manager=system.pods,
                scheduler=system.pods,
                certificates=(*users, WEBHOOK),
                apiserver_flags=(
                    f"--audit-policy-file={policy}",
                    f"--audit-log-path={self.audit_log}",
                    "--audit-log-maxsize=4000",  # MB, after which it would be put aside
                ),
            ),
            qps=qps,
        )
        self.pids: dict[str, int] = {}
        self._folder = folder
        self._supervisors: list[tuple[Supervisor, str]] = []
        self._refused = ""

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End every process."""
        while self._supervisors:
            supervisor, name = self._supervisors.pop()
            supervisor.stop(name, grace_s=2)
        self.plane.stop()
        shutil.rmtree(CERTIFICATES, ignore_errors=True)

    def _start(self) -> None:
        self.plane.start()
        of_pods = (CONTROLLER_MANAGER, SCHEDULER) if self.system.pods else ()
        for name in (ETCD, APISERVER, *of_pods):
            running = self.plane.supervisor.running(name)
            if running is None:
                raise RuntimeError(f"{name} ended: {self.plane.supervisor.tail(name)}")
            self.pids[name] = running.pid
        self._install()
        if self.system.pods:
            self._start_nodes()
        for process in self.system.processes(self.plane, self._folder):
            kubeconfig = self._folder / f"{process.name}.kubeconfig"
            write_kubeconfig(kubeconfig, self.plane.url, self.plane.pki, process.name)
            env = {**dict(process.env), "KUBECONFIG": str(kubeconfig)}
            self._run(process.name, process.argv, env)
            self._wait(partial(answers, process.ready), f"{process.name} to be ready", 120)

    def _start_nodes(self) -> None:
        config = self._folder / "kwok.yaml"
        config.write_text(fleet.kwok_config())
        kwok = (str(tool("kwok")), f"--kubeconfig={self.plane.kubeconfig}", f"--config={config}")
        self._run("kwok", kwok, {"GOGC": GOGC})
        self._run("fake-trainer", (sys.executable, "-m", "scale_parts.fake_trainer"), {})

    def _install(self) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        self._apply(namespace, *map(fleet.node, range(fleet.NODES)))
        for is_file, group in groupby(self.system.manifests(), lambda m: isinstance(m, Path)):
            # what a CRD among the files before it defines may not be served yet
            apply = partial(self._applied, *group)
            self._wait(apply, f"{self.system.name}'s {'files' if is_file else 'objects'}")
        self._wait(self._served, f"{self.system.jobs.plural} to be served")

    def _run(self, name: str, argv: tuple[str, ...], env: dict[str, str]) -> None:
        supervisor = Supervisor(
            self._folder / "run",
            self._folder / "logs",
            die_with_parent=True,
            environment={**os.environ, "PYTHONPATH": PYTHONPATH, **env},
        )
        self.pids[name] = supervisor.start(Command(name, argv)).pid
        self._supervisors.append((supervisor, name))

    def _apply(self, *manifests: Path | JsonObject) -> None:
        if not self._applied(*manifests):
            raise RuntimeError(self._refused)

    def _applied(self, *manifests: Path | JsonObject) -> bool:
        """Server-side apply of files, or of objects; whether all were taken."""
        command = [str(tool("kubectl")), "--kubeconfig", str(self.plane.kubeconfig)]
        command += ["apply", "--server-side"]
        files = [str(manifest) for manifest in manifests if isinstance(manifest, Path)]
        for file in files or ["-"]:
            command += ["-f", file]
        objects = {"apiVersion": "v1", "kind": "List", "items": manifests}
        done = subprocess.run(
            command,
            input=None if files else json.dumps(objects),
            capture_output=True,
            text=True,
            check=False,
        )
        self._refused = done.stderr
        return done.returncode == 0

    def _served(self) -> bool:
        return self.plane.client().reads(self.system.jobs.path + "/none")

    def _wait(self, look: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not look():
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"waited {timeout_s:.0f} s for {what}; logs: {self._folder}/logs"
                )
            time.sleep(0.1)


def _audit_policy(system: System) -> JsonObject:
    # a rule with no users is about everybody
    of_system = [{"level": "Metadata", "users": list(system.users)}] if system.users else []
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [*of_system, {"level": "None"}],
    }
