"""What those say who judge a job by its conditions: kstatus (Flux, kpt) and Argo CD."""

from pathlib import Path
from typing import Any

import lupa.lua51
import pytest

from embedtune_api.schema import custom_resource_definition
from tests.operator.kstatus import kstatus
from tests.operator.objects import raw_job
from tests.operator.test_decide import CASES, SPECS, plan, stored

HEALTH = Path(__file__).parents[2] / "docs/gitops/health.lua"
IN_PROGRESS, TRAINS = ("InProgress", "Progressing"), ("Current", "Progressing")
DONE, WRONG, SUSPENDED = ("Current", "Healthy"), ("Failed", "Degraded"), ("Current", "Suspended")
VERDICTS = {
    **dict.fromkeys(("new", "created", "no-pod", "waits-for-node", "unschedulable"), IN_PROGRESS),
    **dict.fromkeys(("starting", "pod-deleted", "retrying", "evicted", "node-out"), IN_PROGRESS),
    "node-lost": IN_PROGRESS,
    **dict.fromkeys(("child-going", "child-gone-pod-alive", "suspending"), IN_PROGRESS),
    **dict.fromkeys(("resumed", "resumed-pod-going", "resumed-no-pod"), IN_PROGRESS),
    **dict.fromkeys(("training", "second-attempt"), TRAINS),
    **dict.fromkeys(("suspended", "suspended-before-it-began"), SUSPENDED),
    **dict.fromkeys(("succeeded", "improved"), DONE),
    **dict.fromkeys(("refused", "held", "image-pull", "image-name", "config-error"), WRONG),
    **dict.fromkeys(("not-improved", "no-result", "other-place", "bad-data", "oom"), WRONG),
    **dict.fromkeys(("backoff", "deadline", "failed-without-pods", "result-lost"), WRONG),
    "overfull": WRONG,
}


def argo_cd(resource: dict[str, Any]) -> tuple[str, str]:
    """Status and message that Argo CD, whose Lua is 5.1, would show."""
    lua = lupa.lua51.LuaRuntime()
    lua.globals().obj = lua.table_from(resource, recursive=True)
    health = lua.execute(HEALTH.read_text())
    return health.status, health.message


def job_in(case: str) -> dict[str, Any]:
    spec = SPECS.get(case, {})
    return raw_job(plan(stored(**spec), CASES[case]).status, **spec)


def test_every_case_has_its_verdicts() -> None:
    assert set(VERDICTS) == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_verdicts(case: str) -> None:
    job = job_in(case)
    health, message = argo_cd(job)
    assert (kstatus(job), health) == VERDICTS[case]
    assert message.startswith(job["status"]["reason"])


def test_a_job_that_no_operator_has_seen_is_on_its_way() -> None:
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    unseen = raw_job(schema["properties"]["status"]["default"])
    assert (kstatus(unseen), argo_cd(unseen)[0]) == IN_PROGRESS


@pytest.mark.parametrize("case", CASES)
def test_a_change_that_no_operator_has_seen_is_on_its_way(case: str) -> None:
    job = job_in(case)
    job["metadata"]["generation"] = 2
    assert (kstatus(job), argo_cd(job)[0]) == IN_PROGRESS


def test_a_job_that_is_deleted_is_terminating() -> None:
    job = job_in("succeeded")
    job["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    assert kstatus(job) == "Terminating"
