"""The kinds whose mutants are tried, and their valid documents."""

import copy
from typing import Any

from embedtune_api import API_VERSION
from embedtune_api.job import FineTuneJob
from embedtune_api.runtime import CLUSTER_RUNTIME, RUNTIME, RuntimeSpec
from tests.api import cases
from tests.api.test_runtimes import FULL
from tests.faults.schema import Item, JsonObject, Kind, spec_of

JOB = Kind(
    name="FineTuneJob",
    spec=spec_of("FineTuneJob"),
    donors=(cases.MINIMAL, *(case.job() for case in cases.ACCEPTED)),
    donors_at="ACCEPTED in tests/api/cases.py",
    parse=FineTuneJob.parse,
)

NAMESPACE = "search"
"""Where the runtimes and the jobs that use them are."""
CLASS = Item("large")
"""The resource class that a job takes which names none."""
BY_VALUE: JsonObject = {
    "key": "ml",
    "operator": "Equal",
    "value": "yes",
    "effect": "NoExecute",
    "tolerationSeconds": 60,
}
POD: JsonObject = {
    "dnsConfig": {"nameservers": ["10.0.0.2"]},
    "hostAliases": [{"ip": "10.0.0.3", "hostnames": ["hub"]}],
    "resourceClaims": [{"name": "nic", "resourceClaimName": "nic"}],
    "schedulingGates": [{"name": "embedtune.test/gate"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
}
CLAIM: JsonObject = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": 1}}}
SOURCES: JsonObject = {
    "emptyDir": {},
    "configMap": {"name": "extra"},
    "csi": {"driver": "csi.test"},
    "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]},
    "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}},
    "persistentVolumeClaim": {"claimName": "extra"},
    "secret": {"secretName": "extra"},
}


def _plain() -> JsonObject:
    """The spec of a runtime whose pods the API server lets in, but for a patch of them."""
    spec: JsonObject = copy.deepcopy(FULL) | {
        "defaultResourceClass": CLASS,
        "tolerations": [BY_VALUE],
    }
    spec["resourceClasses"][CLASS]["tolerations"] = [BY_VALUE]
    del spec["podTemplatePatch"]
    return spec


def _patched(source: str) -> JsonObject:
    """The same with a patch, and a volume of this source in it."""
    patch = copy.deepcopy(FULL["podTemplatePatch"])
    patch["spec"] |= POD | {"volumes": [{"name": "extra", source: SOURCES[source]}]}
    (container,) = patch["spec"]["containers"]
    container["volumeMounts"][0] |= {"subPath": "a", "readOnly": True}
    return _plain() | {"podTemplatePatch": patch}


def _document(kind: str, spec: JsonObject) -> JsonObject:
    metadata = {"name": "team"} | ({"namespace": NAMESPACE} if kind == RUNTIME else {})
    head = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata}
    return head | {"spec": spec}


def _runtime(name: str) -> Kind:
    def parse(document: JsonObject) -> Any:
        return RuntimeSpec.parse(document["spec"])

    return Kind(
        name=name,
        spec=spec_of(name),
        donors=tuple(_document(name, spec) for spec in (_plain(), *map(_patched, SOURCES))),
        donors_at="SOURCES in tests/faults/kinds.py",
        parse=parse,
        item=CLASS,
        twice=True,
    )


RUNTIMES = (_runtime(RUNTIME), _runtime(CLUSTER_RUNTIME))
