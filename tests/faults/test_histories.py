"""The same desired state, however it came about, has the same children.

What can be changed in a job's life is changed, in any order and number, with the operator killed
and the child deleted in between; the children that are there in the end are those of a job that was
made as it is now.
"""

import asyncio
import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.conftest import WHOLE
from tests.faults.kinds import JOB
from tests.faults.schema import REMOVE, Path, changed, dotted, has
from tests.operator.fake_api import JOB_PATH, FakeApi, FakeOperator, submitted
from tests.operator.objects import raw_job

SUSPEND: Path = ("spec", "suspend")
KILL, DELETE = "the operator is killed", "the child is deleted"


def values(path: Path) -> st.SearchStrategy[Any]:
    """What may stand in a place, or nothing."""
    node = JOB.node_at(path)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "boolean": st.booleans(),
        "integer": st.integers(node.get("minimum", 0), node.get("maximum", 10**6)),
    }
    if "enum" in node:
        return st.one_of(st.just(REMOVE), st.sampled_from(node["enum"]))
    return st.one_of(st.just(REMOVE), kinds[node["type"]])


def edits() -> st.SearchStrategy[tuple[Path, Any]]:
    """One change that the CRD's rules allow."""
    return st.sampled_from(JOB.changeable()).flatmap(
        lambda path: st.tuples(st.just(path), values(path))
    )


STEPS = st.lists(st.one_of(edits(), st.sampled_from([KILL, DELETE])), max_size=8)


class User:
    """Changes a job as the API server lets one."""

    def __init__(self, operator: FakeOperator) -> None:
        self.operator = operator

    async def edit(self, path: Path, value: Any) -> None:
        """One change, and what the operator makes of it."""
        job = self.operator.api.objects[JOB_PATH]
        job = edited(job, path, value)
        job["metadata"]["generation"] += 1
        self.operator.api.put(JOB_PATH, job)
        self.operator.deliver()
        await self.operator.settle()


def edited(job: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    for end in range(2, len(path)):
        if not has(job, path[:end]):
            job = changed(job, path[:end], {})
    return changed(job, path, value)


def children(api: FakeApi) -> str:
    """ConfigMap and Job to the byte, without what the API server gives each anew."""
    found = {path: copy.deepcopy(item) for path, item in api.objects.items() if path != JOB_PATH}
    for path in [path for path in found if "/events/" in path]:
        del found[path]
    for item in found.values():
        for key in ("uid", "resourceVersion", "creationTimestamp"):
            del item["metadata"][key]
    return json.dumps(found, indent=1, sort_keys=True)


async def without_child(operator: FakeOperator) -> None:
    """Somebody deletes the child Job."""
    for path in [path for path in operator.api.objects if "/jobs/" in path]:
        del operator.api.objects[path]
    for kind in operator.resync.kinds:
        await operator.resync.once(kind)
    await operator.settle()


async def lived(steps: list[Any]) -> FakeApi:
    api = submitted()
    operator = FakeOperator(api)
    await operator.settle()
    for step in steps:
        if step == KILL:
            operator.start()
        elif step == DELETE:
            await without_child(operator)
        else:
            await User(operator).edit(*step)
    await User(operator).edit(SUSPEND, False)
    return api


async def made_as_it_is(spec: dict[str, Any]) -> FakeApi:
    api = FakeApi()
    api.put(JOB_PATH, raw_job() | {"spec": spec})
    await FakeOperator(api).settle()
    return api


def test_what_can_be_changed_is_known() -> None:
    assert {"spec.suspend", "spec.runPolicy.backoffLimit"} <= set(map(dotted, JOB.changeable()))
    assert not any(dotted(path).startswith("spec.model") for path in JOB.changeable())


@settings(max_examples=400 if WHOLE else 50)
@given(STEPS)
def test_the_children_know_nothing_of_the_history(steps: list[Any]) -> None:
    async def both() -> tuple[str, str]:
        old = await lived(steps)
        new = await made_as_it_is(copy.deepcopy(old.objects[JOB_PATH]["spec"]))
        return children(old), children(new)

    after, fresh = asyncio.run(both())
    assert after == fresh
