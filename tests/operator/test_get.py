"""What `kubectl get ftj -o wide` shows of a job in each state; docs/failures.md has it, too."""

import os
import re

import pytest

from localcluster.controlplane import ControlPlane
from tests.chart.test_chart import ROOT
from tests.conftest import kubectl_with
from tests.operator.objects import GOLDEN
from tests.operator.test_lifecycle import let_go
from tests.operator.test_watches import TRAINER_IP, Trainer, trainer
from tests.operator.world import Namespace, OperatorProcess, eventually, failure

__all__ = ["trainer"]

pytestmark = pytest.mark.controlplane


def shown(text: str) -> str:
    """The table without what differs from run to run, in columns anew."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", text)
    header, *lines = text.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    ends = [*starts[1:], None]
    rows = [
        [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        for line in (header, *lines)
    ]
    age = rows[0].index("AGE")
    for row in rows[1:]:
        row[age] = "1m"
    widths = [max(len(row[i]) for row in rows) for i in range(len(starts))]
    lines = ("   ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def test_each_state(
    plane: ControlPlane, operator: OperatorProcess, ns: Namespace, trainer: type[Trainer]
) -> None:
    ns.submit("complete")
    ns.end(ns.start_training(), 0, ns.result("complete"))
    ns.wait_reason("Succeeded", "complete")
    ns.submit("failed")
    ns.end(ns.start_training(), 65, failure("BadData", "train.csv row 7, column label: blank"))
    ns.wait_reason("BadData", "failed")
    ns.submit("suspended")
    pod = ns.start_training()
    ns.wait_reason("Training", "suspended")
    ns.patch("finetunejobs", "suspended", {"spec": {"suspend": True}})
    let_go(ns, pod, 81)
    ns.wait_reason("Suspended", "suspended")
    ns.submit("running")
    running = ns.start_training(TRAINER_IP)
    eventually(lambda: ns.status("running").get("progress"), what="progress")
    ns.submit("stuck")
    stuck = ns.pod(other_than=running)["metadata"]["name"]
    ns.bind(stuck)
    ns.wait_in(stuck, "ErrImagePull", "not found")
    ns.wait_reason("ImagePullFailed", "stuck")
    ns.submit("waiting", suspend=False)
    ns.wait_reason("PodPending", "waiting")

    kubectl = kubectl_with(plane.kubeconfig)
    table = shown(kubectl("get", "ftj", "-n", ns.name, "-o", "wide").stdout)
    table = table.replace(f"/{ns.name}/", "/search/")
    golden = GOLDEN / "get-wide.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(table)
    assert golden.read_text() == table
    assert table in (ROOT / "docs/failures.md").read_text()
