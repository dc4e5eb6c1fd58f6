"""The operator's figures on a control plane where nothing else runs: latency and memory."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import pytest

from tests.operator.world import Namespace, OperatorProcess, eventually

pytestmark = pytest.mark.controlplane

JOBS = 10


def has_child(ns: Namespace, name: str) -> bool:
    return any(job["metadata"]["name"].startswith(name) for job in ns.all("jobs"))


def test_latency_and_memory(
    operator: OperatorProcess,
    ns: Namespace,
    record_property: Callable[[str, object], None],
) -> None:
    made, done = [], []
    for number in range(JOBS):
        name = f"job-{number}"
        began = time.monotonic()
        ns.submit(name)
        eventually(partial(has_child, ns, name), what="child", every_s=0.005)
        made.append(time.monotonic() - began)
        pod = ns.start_training()
        ns.wait_reason("Training", name)
        began = time.monotonic()
        ns.end(pod, 0, ns.result(name))
        ns.wait_reason("Succeeded", name)
        done.append(time.monotonic() - began)
    rss = operator.rss_mib()
    figures = (
        f"apply to child Job: median {statistics.median(made) * 1000:.0f} ms,"
        f" worst {max(made) * 1000:.0f} ms; trainer's end to Complete: median"
        f" {statistics.median(done) * 1000:.0f} ms, worst {max(done) * 1000:.0f} ms;"
        f" RSS {rss:.0f} MiB"
    )
    record_property("figures", figures)
    print(figures)
    assert statistics.median(made) < 0.5
    assert max(made) < 1
    assert max(done) < 2
    assert rss < 120
