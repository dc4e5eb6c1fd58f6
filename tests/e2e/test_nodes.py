"""A job of two pods, one process each, on gloo: one of them killed at a time."""

from typing import Any

import pytest

from tests.e2e.conftest import User
from tests.e2e.test_interruptions import training

pytestmark = pytest.mark.cluster

INDEX = "batch.kubernetes.io/job-completion-index"
SPEC: dict[str, Any] = {
    "parallelism": {"nodes": 2},
    "resources": {"cpu": "500m", "memory": "2Gi"},
    "training": {"epochs": 20, "batchSize": 16},
    "runPolicy": {"checkpoints": {"everySteps": 10}, "backoffLimit": 0},
}


def pods_of(user: User, *but: str) -> dict[int, str]:
    """Names of the pods that run, by node."""
    return {
        int(pod["metadata"]["labels"][INDEX]): pod["metadata"]["name"]
        for pod in user.pods("two")
        if pod["status"]["phase"] == "Running" and pod["metadata"]["name"] not in but
    }


def test_two_nodes_train_and_one_killed_pod_restarts_both(
    user: User, questions: list[tuple[str, str]]
) -> None:
    """With no retry left that is counted: a pod that is taken away is no failure."""
    user.apply("two", user.data(questions[:200]), **SPEC)
    seen: set[str] = set()
    for killed, node in enumerate((1, 0)):
        status = user.wait(
            "two",
            lambda s, killed=killed: (
                training(s) and s["restarts"] == killed and s["progress"]["step"] > 10
            ),
        )
        assert status["state"] == "Running"
        running = pods_of(user, *seen)
        assert sorted(running) == [0, 1]
        if killed:
            log = user.site.kubectl("logs", running[0], "-n", user.namespace)
            assert "going on from a checkpoint" in log
        seen |= set(running.values())
        user.site.kubectl("delete", "pod", running[node], "-n", user.namespace, "--grace-period=1")
        status = user.wait("two", lambda s, n=killed + 1: s.get("restarts", 0) == n)
        assert status["lastFailure"]["podName"] == running[node]
    status = user.finish("two", timeout_s=900)
    assert status["state"] == "Complete", status
    assert status["restarts"] == 2
    assert "manifest.json" in user.objects_in_s3("two")
    assert not [name for name in user.objects_in_s3("two") if name.startswith("checkpoints")]
