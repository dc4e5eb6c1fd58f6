"""A job's life from submission to its model, on a real control plane."""

import pytest

from tests.operator.world import Namespace, OperatorProcess, condition, eventually, true_conditions

pytestmark = pytest.mark.controlplane


def test_from_submission_to_model(operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    child = ns.child()
    pod = ns.start_training()
    running = ns.wait_reason("Training")
    assert running["state"] == "Running"
    assert true_conditions(running) == {"Running"}
    assert running["jobName"] == child["metadata"]["name"]

    ns.end(pod, 0, ns.result())
    done = ns.wait_reason("Succeeded")
    assert done["state"] == "Complete"
    assert true_conditions(done) == {"Complete", "ModelExported"}
    assert done["metrics"]["headline"] == {"name": "ndcg_at_10", "before": "0.61", "after": "0.78"}
    assert done["progress"]["summary"] == "100%"
    assert done["model"]["uri"] in condition(done, "ModelExported")["message"]
    assert ns.wait_told("Succeeded") == ["Created", "Training", "Succeeded"]


def test_every_line_about_a_job_says_which(operator: OperatorProcess, ns: Namespace) -> None:
    meta = ns.submit()["metadata"]
    ns.wait_reason("PodPending")
    about = eventually(
        lambda: [line for line in operator.log() if line.get("uid") == meta["uid"]], what="a line"
    )
    facts = {"job": "tune", "namespace": ns.name, "uid": meta["uid"], "generation": 1}
    assert all(line | facts == line for line in about)
    assert {"time", "level", "logger", "message"} <= set(about[0])
