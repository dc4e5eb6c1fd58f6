"""How a podTemplatePatch is merged; what it may not hold is in tests/api/test_runtimes.py."""

import copy
from typing import Any

import pytest

from embedtune_api.podpatch import PodTemplatePatch
from embedtune_operator.podpatch import patched
from tests.operator.test_runtimes import OUTPUT, begun, runtime

JsonObject = dict[str, Any]
TEMPLATE: JsonObject = begun(runtime(default=True, **OUTPUT)).children[1]["spec"]["template"]


def over(spec: JsonObject) -> JsonObject:
    """The pod's spec after this patch of it; the template itself stays as it is."""
    before = copy.deepcopy(TEMPLATE)
    found: JsonObject = patched(TEMPLATE, PodTemplatePatch.parse({"spec": spec}))["spec"]
    assert before == TEMPLATE
    return found


def named(items: list[JsonObject], name: str) -> JsonObject:
    (found,) = [item for item in items if item["name"] == name]
    return found


def test_an_empty_patch_changes_nothing() -> None:
    assert over({}) == TEMPLATE["spec"]
    assert over({"containers": [{"name": "trainer"}]}) == TEMPLATE["spec"]
    assert patched(TEMPLATE, None) is TEMPLATE


def test_a_map_is_merged() -> None:
    security = TEMPLATE["spec"]["securityContext"] | {"supplementalGroups": [7]}
    assert over({"securityContext": {"supplementalGroups": [7]}})["securityContext"] == security


def test_labels_are_added_to() -> None:
    patch = PodTemplatePatch.parse({"metadata": {"labels": {"a": "b"}}})
    labels = TEMPLATE["metadata"]["labels"] | {"a": "b"}
    assert patched(TEMPLATE, patch)["metadata"] == {"labels": labels}


def test_a_volume_is_added() -> None:
    volumes = over({"volumes": [{"name": "x", "emptyDir": {}}]})["volumes"]
    assert volumes == [*TEMPLATE["spec"]["volumes"], {"name": "x", "emptyDir": {}}]


def test_the_same_source_is_merged_and_another_one_takes_its_place() -> None:
    limited = over({"volumes": [{"name": "shm", "emptyDir": {"sizeLimit": "8Gi"}}]})
    both = {"medium": "Memory", "sizeLimit": "8Gi"}
    assert named(limited["volumes"], "shm") == {"name": "shm", "emptyDir": both}
    claim = {"name": "work", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}
    assert named(over({"volumes": [claim]})["volumes"], "work") == claim


def test_mounts_are_told_apart_by_their_path() -> None:
    mounts = [{"name": "x", "mountPath": "/work/.cache", "readOnly": True}]
    (container,) = over({"containers": [{"name": "trainer", "volumeMounts": mounts}]})["containers"]
    (was,) = TEMPLATE["spec"]["containers"]
    assert container == was | {"volumeMounts": was["volumeMounts"] + mounts}


def test_resources_are_added_to() -> None:
    more = {"limits": {"rdma/hca": 1}, "requests": {"ephemeral-storage": "1Gi"}}
    (container,) = over({"containers": [{"name": "trainer", "resources": more}]})["containers"]
    (was,) = TEMPLATE["spec"]["containers"]
    assert container["resources"] == {
        part: was["resources"][part] | more[part] for part in ("requests", "limits")
    }


@pytest.mark.parametrize("default", [True, False])
def test_what_the_api_server_filled_in_is_no_patch(default: bool) -> None:
    """A stored patch has the defaults of its empty parts, which must not empty the template's."""
    filled = {"containers": [{"name": "trainer", "resources": {}, "volumeMounts": []}]}
    empty: JsonObject = {"hostAliases": [], "volumes": [], "securityContext": {}}
    assert over(filled | (empty if default else {})) == TEMPLATE["spec"]


def test_a_patch_reaches_the_child() -> None:
    patch = {"spec": {"schedulerName": "volcano"}}
    made = begun(runtime(default=True, podTemplatePatch=patch, **OUTPUT))
    assert made.children[1]["spec"]["template"]["spec"]["schedulerName"] == "volcano"
