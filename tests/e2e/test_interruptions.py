"""A job goes on, or goes away, whatever happens around it."""

import time

import pytest

from localdemo.setup import SYSTEM_NAMESPACE
from tests.e2e.conftest import User

pytestmark = pytest.mark.cluster

Rows = list[tuple[str, str]]
LONG = {"epochs": 20, "batchSize": 16}


def training(status: dict[str, object]) -> bool:
    progress = status.get("progress")
    return isinstance(progress, dict) and progress.get("phase") == "Training"


def test_a_deleted_pod_is_replaced_and_the_job_completes(user: User, questions: Rows) -> None:
    user.apply("bereft", user.data(questions[:200]), training=LONG)
    user.wait("bereft", training)
    first = user.pods("bereft")[0]["metadata"]["name"]
    user.site.kubectl("delete", "pod", first, "-n", user.namespace)
    status = user.finish("bereft")
    assert status["state"] == "Complete"
    assert status["restarts"] == 1
    assert status["lastFailure"]["podName"] == first
    assert status["progress"]["percent"] == 100
    assert "manifest.json" in user.objects_in_s3("bereft")


def test_an_operator_killed_in_mid_job_loses_nothing(user: User, questions: Rows) -> None:
    user.apply("steady", user.data(questions[:200]), training=LONG)
    user.wait("steady", training)
    operator = ("-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/component=operator")
    user.site.kubectl("delete", "pod", *operator, "--grace-period=0", "--force")
    status = user.finish("steady")
    assert (status["state"], status.get("restarts", 0)) == ("Complete", 0)
    assert len(user.get("jobs")["items"]) == 1
    assert len(user.pods("steady")) == 1


def test_the_other_replica_goes_on_when_the_one_that_works_is_gone(
    user: User, questions: Rows
) -> None:
    def leader() -> str:
        """The pod that holds the Lease, or nothing while nobody does."""
        lease = ("get", "lease", "embedtune", "-n", SYSTEM_NAMESPACE)
        holder = user.site.kubectl(*lease, "-o", "jsonpath={.spec.holderIdentity}")
        return holder.strip().rpartition("-")[0]

    user.apply("handed", user.data(questions[:200]), training=LONG)
    user.wait("handed", training)
    first = leader()
    user.site.kubectl("delete", "pod", first, "-n", SYSTEM_NAMESPACE, "--wait=false")
    deadline = time.monotonic() + 15
    while leader() in ("", first):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    status = user.finish("handed")
    assert (status["state"], status.get("restarts", 0)) == ("Complete", 0)
    assert len(user.get("jobs")["items"]) == len(user.pods("handed")) == 1


def test_a_deleted_job_takes_its_children_along(user: User, questions: Rows) -> None:
    user.apply("gone", user.data(questions), training=LONG)
    user.wait("gone", training)
    assert user.get("ftj", "gone")["metadata"].get("finalizers", []) == []
    user.site.kubectl("delete", "ftj", "gone", "-n", user.namespace, "--timeout=10s")
    deadline = time.monotonic() + 90
    while user.pods("gone") or user.get("jobs")["items"]:
        assert time.monotonic() < deadline
        time.sleep(1)
    names = [item["metadata"]["name"] for item in user.get("configmaps")["items"]]
    assert [name for name in names if name.startswith("gone-")] == []


def test_one_name_in_two_namespaces_is_two_jobs(
    user: User, other_user: User, questions: Rows
) -> None:
    for one, rows in ((user, questions[:100]), (other_user, questions[100:200])):
        one.apply("same", one.data(rows), resources={"cpu": "500m", "memory": "2Gi"})
    uris = {one.finish("same")["model"]["uri"] for one in (user, other_user)}
    assert len(uris) == 2
    assert {user.namespace in uri or other_user.namespace in uri for uri in uris} == {True}
