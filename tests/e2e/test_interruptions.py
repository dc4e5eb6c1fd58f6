"""A job goes on, or goes away, whatever happens around it."""

import time

import pytest

from localdemo.setup import SYSTEM_NAMESPACE
from tests.e2e.conftest import LONG, User, training

pytestmark = pytest.mark.cluster

Rows = list[tuple[str, str]]


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


def test_storage_gone_for_a_minute_stops_no_training(user: User, questions: Rows) -> None:
    """Checkpoints wait for it to come back, in the background, and take no memory meanwhile."""

    def storage(replicas: int) -> None:
        deployment = ("deployment/minio", "-n", "minio")
        user.site.kubectl("scale", *deployment, f"--replicas={replicas}")
        user.site.kubectl("rollout", "status", *deployment, "--timeout=120s")

    often = {"backoffLimit": 0, "checkpoints": {"everySteps": 5}}
    longer = LONG | {"epochs": 20}
    user.apply("stormy", user.data(questions[:200]), training=longer, runPolicy=often)
    begun = user.wait("stormy", training)["progress"]["step"]
    storage(0)
    try:
        time.sleep(60)
        assert user.status("stormy")["progress"]["step"] > begun
    finally:
        storage(1)
    status = user.finish("stormy")
    told = status.get("lastFailure")
    assert (status["state"], status.get("restarts", 0)) == ("Complete", 0), told
    assert "manifest.json" in user.objects_in_s3("stormy")


def test_a_drained_nodes_job_goes_on_when_there_is_a_node_again(
    user: User, questions: Rows
) -> None:
    user.apply("drained", user.data(questions[:200]), training=LONG, runPolicy={"backoffLimit": 0})
    user.wait("drained", training)
    (pod,) = user.pods("drained")
    node, first = pod["spec"]["nodeName"], pod["metadata"]["name"]
    mine = "--pod-selector=embedtune.dev/job-name=drained"
    try:
        user.site.kubectl("drain", node, mine, "--delete-emptydir-data", "--timeout=120s")
        user.wait("drained", lambda s: s.get("reason") == "Unschedulable")
    finally:
        user.site.kubectl("uncordon", node)
    status = user.finish("drained")
    assert status["state"] == "Complete"
    assert (status["lastFailure"]["reason"], status["lastFailure"]["podName"]) == ("Evicted", first)


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
