"""Lays a runtime's podTemplatePatch over a pod template, as Kubernetes' strategic merge patch does.

What a patch may hold is the API's to say (embedtune_api.podpatch); here is only how it is merged.
Directives ($patch, $retainKeys) and null are not among that: a patch takes nothing away.
"""

from typing import Any, Final

from embedtune_api.podpatch import PodTemplatePatch

JsonObject = dict[str, Any]

MERGE_KEYS: Final = {
    "containers": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "hostAliases": "ip",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
}
"""What the items of a list are told apart by; other lists are replaced as a whole."""
RETAIN_KEYS: Final = ("volumes",)
"""Lists whose items are unions: a patch with another source replaces the source."""


def patched(template: JsonObject, patch: PodTemplatePatch | None) -> JsonObject:
    """The pod template with the patch over it; neither is changed."""
    if patch is None:
        return template
    over = patch.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return _merged(template, over)


def _merged(base: JsonObject, over: JsonObject) -> JsonObject:
    out = dict(base)
    for key, value in over.items():
        held = out.get(key)
        if isinstance(value, dict) and isinstance(held, dict):
            out[key] = _merged(held, value)
        elif isinstance(value, list) and isinstance(held, list) and key in MERGE_KEYS:
            out[key] = _items(key, held, value)
        else:
            out[key] = value
    return out


def _items(key: str, base: list[JsonObject], over: list[JsonObject]) -> list[JsonObject]:
    name = MERGE_KEYS[key]
    out = {item[name]: item for item in base}
    for item in over:
        held = out.get(item[name])
        if held is None or (key in RETAIN_KEYS and set(held) != set(item)):
            out[item[name]] = item
        else:
            out[item[name]] = _merged(held, item)
    return list(out.values())
