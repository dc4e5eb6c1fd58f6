"""What goes wrong for a user, on the kubelet: each ends with words that say what to do."""

import json

import pytest

from tests.e2e.conftest import User

pytestmark = pytest.mark.cluster

Rows = list[tuple[str, str]]


def condition(status: dict[str, object], kind: str) -> dict[str, str]:
    conditions = status["conditions"]
    assert isinstance(conditions, list)
    found: dict[str, str] = next(c for c in conditions if c["type"] == kind)
    return found


def test_a_bad_csv_fails_at_once_and_names_row_and_column(user: User, questions: Rows) -> None:
    rows = [*questions[:40], ("", "HUM"), *questions[40:60]]
    uri = user.data(rows)
    user.apply("bad-csv", uri)
    status = user.finish("bad-csv")
    assert (status["state"], status["reason"]) == ("Failed", "BadData")
    message = condition(status, "Failed")["message"]
    assert uri in message
    assert "row 42" in message
    assert "text" in message
    assert status["lastFailure"]["exitCode"] == 65
    assert "model" not in status
    assert user.objects_in_s3("bad-csv") <= {"README.md"}  # which says that this is no model
    assert len(user.pods("bad-csv")) == 1  # not retried


def test_a_pod_out_of_memory_is_named_with_what_to_change(user: User, questions: Rows) -> None:
    user.apply("hungry", user.data(questions), resources={"cpu": "1", "memory": "200Mi"})
    status = user.finish("hungry")
    assert (status["state"], status["reason"]) == ("Failed", "OOMKilled")
    assert status["lastFailure"]["exitCode"] == 137
    message = condition(status, "Failed")["message"]
    assert "200Mi" in message
    assert "spec.resources.memory" in message


def test_a_missing_object_fails_with_its_uri(user: User) -> None:
    user.apply("nothing", "s3://datasets/no/such.csv")
    status = user.finish("nothing")
    assert (status["state"], status["reason"]) == ("Failed", "NotFound")
    assert "s3://datasets/no/such.csv" in condition(status, "Failed")["message"]


def test_wrong_credentials_fail_with_the_uri(user: User, questions: Rows) -> None:
    uri = user.data(questions)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "wrong", "namespace": user.namespace},
        "stringData": {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "not-the-key"},
    }
    user.site.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    user.apply("denied", uri, storage={"secretRef": {"name": "wrong"}})
    status = user.finish("denied")
    assert (status["state"], status["reason"]) == ("Failed", "AccessDenied")
    assert "s3://" in condition(status, "Failed")["message"]


def test_a_missing_secret_is_named_and_can_be_mended(user: User, questions: Rows) -> None:
    user.apply("waiting", user.data(questions), storage={"secretRef": {"name": "later"}})
    status = user.wait("waiting", lambda s: s.get("reason") == "ContainerConfigError")
    assert status["state"] == "Pending"
    assert "later" in condition(status, "Running")["message"]
    secret = user.get("secret", "s3-credentials")
    secret["metadata"] = {"name": "later", "namespace": user.namespace}
    user.site.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    assert user.finish("waiting")["state"] == "Complete"


def test_a_pod_that_fits_no_node_is_pending_with_the_schedulers_words(
    user: User, questions: Rows
) -> None:
    user.apply("big", user.data(questions), resources={"gpus": 64, "cpu": "1", "memory": "1Gi"})
    status = user.wait("big", lambda s: s.get("reason") == "Unschedulable")
    assert status["state"] == "Pending"
    assert "Insufficient nvidia.com/gpu" in condition(status, "Running")["message"]
