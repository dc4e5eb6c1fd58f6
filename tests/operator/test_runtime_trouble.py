"""What a runtime holds of Kubernetes' own API, and no schema of ours judges, is said to be its."""

from datetime import timedelta
from typing import Any

import pytest

from embedtune_api import reasons
from embedtune_api.podpatch import NESTED_MAX
from embedtune_operator.observe import Observed, Refusal
from tests.operator.objects import NOW, stored
from tests.operator.test_decide import plan
from tests.operator.test_runtimes import OUTPUT, SMALLEST, begun, runtime, status_of, waits
from tests.operator.world import condition

JsonObject = dict[str, Any]
UNKNOWN = 'strict decoding error: unknown field "spec.template.spec.affinity.nodeAffinty"'
LATER = NOW + timedelta(seconds=7)
ANYWHERE: JsonObject = {"affinity": {"nodeAffinty": {}}}
PATCHED: JsonObject = {"podTemplatePatch": {"spec": {"dnsConfig": {"a": 1}}}}


def nested(levels: int) -> JsonObject:
    """A map with that many maps in each other, itself counted."""
    found: JsonObject = {}
    for _ in range(levels - 1):
        found = {"a": found}
    return found


def refused(message: str, **spec: Any) -> str:
    """What is said of a job whose child is refused, and which has a runtime of this spec."""
    made = begun(runtime(default=True, **OUTPUT, **spec))
    observed = Observed(refusal=Refusal("Job", message, LATER, 1))
    status = status_of(plan(stored(made.status, **SMALLEST), observed))
    assert status["reason"] == reasons.CREATE_FAILED
    return str(condition(status, "Stalled")["message"])


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        (ANYWHERE, "spec.affinity of"),
        (PATCHED, "spec.podTemplatePatch of"),
        (ANYWHERE | PATCHED, "spec.affinity or spec.podTemplatePatch of"),
    ],
)
def test_a_refused_child_names_the_runtime_that_may_be_to_blame(
    spec: JsonObject, parts: str
) -> None:
    message = refused(UNKNOWN, **spec)
    assert message.startswith(f"the API server refuses this job's Job: {UNKNOWN}. If it is about")
    assert f"{parts} the FineTuneRuntime team, correct that, then make the FineTuneJob" in message


def test_another_refusal_does_not_blame_the_runtime() -> None:
    assert "FineTuneRuntime" not in refused("exceeded quota: none", **ANYWHERE)
    assert "FineTuneRuntime" not in refused(UNKNOWN)


@pytest.mark.parametrize("levels", [NESTED_MAX, NESTED_MAX - 1])
def test_a_nested_part_is_taken_as_it_is(levels: int) -> None:
    made = begun(runtime(default=True, affinity=nested(levels), **OUTPUT))
    assert made.children[1]["spec"]["template"]["spec"]["affinity"] == nested(levels)


@pytest.mark.parametrize("levels", [NESTED_MAX + 1, 196, 197, 198, 199, 200, 300])
def test_what_the_status_could_not_hold_does_not_begin(levels: int) -> None:
    """It holds the runtime three levels down, and would not be read any more."""
    deep = runtime(default=True, affinity=nested(levels), **OUTPUT)
    message = waits(Observed(runtimes=(deep,)), reasons.RUNTIME_INVALID)
    assert "the FineTuneRuntime team cannot be used: spec.affinity" in message
    assert "nested too deeply" in message
    volume = {"name": "x", "configMap": nested(levels)}
    deep = runtime(default=True, podTemplatePatch={"spec": {"volumes": [volume]}}, **OUTPUT)
    message = waits(Observed(runtimes=(deep,)), reasons.RUNTIME_INVALID)
    assert "spec.podTemplatePatch.spec.volumes[0].configMap" in message


def test_the_deepest_field_is_named() -> None:
    """No API server has stood before it: of another version's CRD, say."""
    container = {"name": "trainer", "resources": {"requests": {"a": nested(200)}}}
    deep = runtime(default=True, podTemplatePatch={"spec": {"containers": [container]}}, **OUTPUT)
    message = waits(Observed(runtimes=(deep,)), reasons.RUNTIME_INVALID)
    assert "spec.podTemplatePatch.spec.containers[0].resources.requests" in message
