"""A job of two pods, one process each, on gloo, of which one is killed."""

from typing import Any

import pytest

from tests.e2e.conftest import LONG, User, training

pytestmark = pytest.mark.cluster

INDEX = "batch.kubernetes.io/job-completion-index"
SPEC: dict[str, Any] = {
    "parallelism": {"nodes": 2},
    "resources": {"cpu": "500m", "memory": "2Gi"},
    "training": LONG,
    "runPolicy": {"checkpoints": {"everySteps": 10}, "backoffLimit": 0},
}


def pods_of(user: User, *but: str) -> dict[int, str]:
    """Names of the pods that run, by node."""
    return {
        int(pod["metadata"]["labels"][INDEX]): pod["metadata"]["name"]
        for pod in user.pods("two")
        if pod["status"]["phase"] == "Running" and pod["metadata"]["name"] not in but
    }


def test_two_nodes_train_and_a_killed_pod_restarts_both(
    user: User, questions: list[tuple[str, str]]
) -> None:
    """With no retry left that is counted: a pod that is taken away is no failure."""
    user.apply("two", user.data(questions[:200]), **SPEC)
    status = user.wait("two", lambda s: training(s) and s["progress"]["step"] > 30)
    assert (status["state"], status["restarts"]) == ("Running", 0)
    first = pods_of(user)
    assert sorted(first) == [0, 1]
    user.site.kubectl("delete", "pod", first[1], "-n", user.namespace, "--grace-period=1")
    status = user.wait("two", lambda s: s.get("lastFailure"))
    assert status["lastFailure"]["podName"] == first[1]
    user.wait("two", lambda s: training(s) and sorted(pods_of(user, *first.values())) == [0, 1])
    again = pods_of(user, *first.values())
    user.wait("two", lambda s: training(s) and s["progress"]["step"] > 30)
    log = user.site.kubectl("logs", again[0], "-n", user.namespace)
    assert "going on from a checkpoint" in log
    status = user.finish("two", timeout_s=900)
    assert status["state"] == "Complete", status
    assert "manifest.json" in user.objects_in_s3("two")
