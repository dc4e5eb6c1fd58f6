"""A job that leaves its resources out, on a real control plane: sized, then trained."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedtune_api.contract import Failure, SizeResult
from embedtune_api.status import SizedResources
from localcluster.controlplane import ControlPlane
from tests.operator.world import JsonObject, Namespace, OperatorProcess, eventually

pytestmark = pytest.mark.controlplane

NEEDS = SizedResources(
    cpu="2",
    memory="3328Mi",
    gpus=0,
    shm="64Mi",
    ephemeral_storage="2304Mi",
    reasoning=("memory 3328Mi: runtime 960 MiB, activations 810 MiB",),
)


@pytest.fixture
def sizing_operator(
    plane: ControlPlane, shared_operator: OperatorProcess, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """An operator that sizes, in the place of the one that others share."""
    shared_operator.stop()
    process = OperatorProcess(plane, tmp_path / "log", EMBEDTUNE_SIZING="true")
    process.start()
    yield process
    process.kill()


def job_named(ns: Namespace, ending: str) -> JsonObject | None:
    found = [job for job in ns.all("jobs") if job["metadata"]["name"].endswith(ending)]
    return found[0] if found else None


def end_sizing(ns: Namespace, code: int, message: str) -> str:
    """Run the sizing pod to its end; its name."""
    pod = ns.start_training()
    assert "-s-" in pod
    ns.end(pod, code, message)
    return pod


def test_sized_then_trained(sizing_operator: OperatorProcess, ns: Namespace) -> None:
    ns.submit()
    ns.wait_reason("Sizing")
    (sizer,) = ns.all("jobs")
    resources = sizer["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert "nvidia.com/gpu" not in resources["limits"]
    pod = end_sizing(ns, 0, SizeResult(resources=NEEDS).to_message())
    training = ns.start_training(other_than=pod)
    assert ns.api.get(ns.path("pods", training))["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "2", "memory": "3328Mi"},
        "requests": {"cpu": "2", "memory": "3328Mi", "ephemeral-storage": "2304Mi"},
    }
    assert ns.wait_reason("Training")["resources"] == NEEDS.to_dict()
    # a restart of the operator sizes nothing again
    sizing_operator.kill()
    ns.delete("jobs", sizer["metadata"]["name"])
    sizing_operator.start()
    ns.end(training, 0, ns.result())
    status = ns.wait_reason("Succeeded")
    assert status["resources"] == NEEDS.to_dict()
    eventually(lambda: job_named(ns, "-s") is None, what="the sizing Job goes")
    assert ns.events().count("Sized") == 1


def test_what_cannot_run_ends_before_it_is_made(
    sizing_operator: OperatorProcess, ns: Namespace
) -> None:
    ns.submit(resources={"gpus": 1})
    failure = Failure(reason="NotFound", message="s3://bases/minilm: nothing is there")
    end_sizing(ns, 67, SizeResult(failure=failure).to_message())
    assert ns.wait_reason("NotFound")["state"] == "Failed"
    assert len(ns.all("jobs")) == 1
