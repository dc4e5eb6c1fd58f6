"""Writes the CustomResourceDefinitions from the API types.

A CRD wants a structural OpenAPI v3 schema: no references, no unions, a type on every node. This
walks pydantic's JSON schema and restates it so; anything that it has no restatement for is an
error here and not a surprise at the API server.
"""

from collections.abc import Iterable
from typing import Any

from embedtune_api import GROUP, KIND, PLURAL, VERSION
from embedtune_api.base import ApiModel
from embedtune_api.fields import cel
from embedtune_api.job import NAME_MAX, NAME_RULE_NODES
from embedtune_api.runtime import CLUSTER_RUNTIME, RUNTIME, RuntimeSpec, plural_of
from embedtune_api.spec import FineTuneJobSpec
from embedtune_api.status import FineTuneJobStatus

JsonObject = dict[str, Any]

_KEPT = (
    "type",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-int-or-string",
    "x-kubernetes-validations",
)

_SCALAR: JsonObject = {
    "x-kubernetes-preserve-unknown-fields": True,
    "maxProperties": 0,
    "maxItems": 0,
}
"""Any value that has nothing in it. What is nested is no option, and nested deeply enough it could
not be read by a client in Python: one such object would end the watch of all."""


class SchemaError(TypeError):
    """A Python type with no structural counterpart."""


def structural(model: type[ApiModel]) -> JsonObject:
    """The structural schema of one API type."""
    document = model.model_json_schema(by_alias=True)
    return _Walker(document.get("$defs", {})).node(document)


class _Walker:
    def __init__(self, definitions: JsonObject) -> None:
        self._definitions = definitions

    def node(self, source: JsonObject) -> JsonObject:
        source = self._resolve(source)
        out: JsonObject = {}
        if description := source.get("description"):
            out["description"] = " ".join(description.split())
        out |= {key: source[key] for key in _KEPT if key in source}
        if "const" in source:
            out["enum"] = [source["const"]]
        if out.pop("x-kubernetes-int-or-string", False):
            out["x-kubernetes-int-or-string"] = True
            out["maxLength"] = 32
            return out
        for bound in ("Minimum", "Maximum"):
            if f"exclusive{bound}" in source:  # OpenAPI v3.0 has the value and the flag apart
                out[bound.lower()] = source[f"exclusive{bound}"]
                out[f"exclusive{bound}"] = True
        self._container(source, out)
        if "type" not in out:
            raise SchemaError(f"no structural schema for {source}")
        return out

    def _container(self, source: JsonObject, out: JsonObject) -> None:
        if "items" in source:
            out["items"] = self.node(source["items"])
        if source.get("type") == "object":
            if "properties" in source:
                out["properties"] = {
                    name: self._property(child) for name, child in source["properties"].items()
                }
                if required := source.get("required"):
                    out["required"] = required
            else:
                self._map(source, out)

    def _map(self, source: JsonObject, out: JsonObject) -> None:
        values = source.get("additionalProperties")
        one_type = isinstance(values, dict) and ("type" in values or "$ref" in values)
        if isinstance(values, dict) and (one_type or values.get("x-kubernetes-int-or-string")):
            out["additionalProperties"] = self.node(values)
        elif isinstance(values, dict) and "anyOf" in values:  # scalars, as the reader takes them
            out["additionalProperties"] = dict(_SCALAR)
        else:  # what may be in it is the reader's to say
            out["x-kubernetes-preserve-unknown-fields"] = True

    def _property(self, child: JsonObject) -> JsonObject:
        out = self.node(child)
        resolved = self._resolve(child)
        if "default" in child and child["default"] is not None:
            # An object's own fields bring their defaults.
            out["default"] = {} if "properties" in resolved else child["default"]
        return out

    def _resolve(self, source: JsonObject) -> JsonObject:
        """Follow references and drop the null of an optional; the outer description wins."""
        outer = {k: v for k, v in source.items() if k not in ("$ref", "anyOf", "allOf")}
        if "$ref" in source:
            inner = self._resolve(self._definitions[source["$ref"].rpartition("/")[2]])
            return inner | outer
        if "anyOf" in source:
            options = [o for o in source["anyOf"] if o.get("type") != "null"]
            if len(options) == 1:
                return self._resolve(options[0]) | outer
            if source.get("x-kubernetes-int-or-string"):
                return source
            raise SchemaError(f"a union has no structural schema: {source}")
        return source


def _column(name: str, path: str, description: str, *, wide: bool = False) -> JsonObject:
    priority = {"priority": 1} if wide else {}
    kind = "date" if name == "Age" else "string"
    return {"name": name, "type": kind, "jsonPath": path, "description": description} | priority


JOB_COLUMNS = (
    _column("State", ".status.state", "Pending, Running, Suspended, Complete or Failed."),
    _column("Progress", ".status.progress.summary", "Share of the training steps done."),
    _column("Before", ".status.metrics.headline.before", "Headline metric of the backbone."),
    _column("After", ".status.metrics.headline.after", "Headline metric of the tuned model."),
    _column("Age", ".metadata.creationTimestamp", "Time since the job was created."),
    _column("Metric", ".status.metrics.headline.name", "The headline metric.", wide=True),
    _column("Reason", ".status.reason", "Why it is in this state.", wide=True),
    _column("Model", ".status.model.uri", "Where the model is.", wide=True),
)
RUNTIME_COLUMNS = (
    _column("Default", ".spec.default", "Whether jobs that name no runtime take it."),
    _column("Class", ".spec.defaultResourceClass", "The class of jobs that name none."),
    _column("Output", ".spec.output.uri", "Where models go whose jobs do not say."),
    _column("Age", ".metadata.creationTimestamp", "Time since the runtime was created."),
    _column("Queue", ".spec.queueName", "Kueue's LocalQueue.", wide=True),
    _column("Image", ".spec.image", "The trainer's image.", wide=True),
)


def definitions() -> dict[str, JsonObject]:
    """Every CRD by its plural, ready to apply."""
    runtimes = {plural_of(kind): _runtime(kind) for kind in (RUNTIME, CLUSTER_RUNTIME)}
    return {PLURAL: custom_resource_definition()} | runtimes


def custom_resource_definition() -> JsonObject:
    """That of FineTuneJob."""
    spec, status = structural(FineTuneJobSpec), structural(FineTuneJobStatus)
    status["properties"]["conditions"] |= {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    # without it, kstatus takes a job that no operator has seen yet for one that is settled
    status["default"] = {"observedGeneration": -1}
    name_rule = (
        f"size(self.metadata.name) <= {NAME_MAX} && !self.metadata.name.contains('.')",
        f"metadata.name must be at most {NAME_MAX} characters of a-z, 0-9 and -,"
        " since it names the job's pods",
    )
    schema = {
        "description": "FineTuneJob tunes an embedding model on the user's data and puts it"
        " in the user's S3 store.",
        **cel(name_rule, NAME_RULE_NODES),
        "properties": {"spec": spec, "status": status},
    }
    definition = _definition(KIND, PLURAL, "ftj", schema, JOB_COLUMNS)
    definition["spec"]["names"]["categories"] = ["all"]
    definition["spec"]["versions"][0]["subresources"] = {"status": {}}
    return definition


def _runtime(kind: str) -> JsonObject:
    who = "of its namespace" if kind == RUNTIME else "of every namespace"
    schema = {
        "description": f"{kind} is the platform's blueprint for the training pods of FineTuneJobs"
        f" {who}.",
        "properties": {"spec": structural(RuntimeSpec)},
    }
    short = "ftr" if kind == RUNTIME else "cftr"
    definition = _definition(kind, plural_of(kind), short, schema, RUNTIME_COLUMNS)
    if kind == CLUSTER_RUNTIME:
        definition["spec"]["scope"] = "Cluster"
    return definition


def _definition(
    kind: str, plural: str, short: str, schema: JsonObject, columns: Iterable[JsonObject]
) -> JsonObject:
    """A CRD with one version, namespaced."""
    head = {name: {"type": "string"} for name in ("apiVersion", "kind")}
    head["metadata"] = {"type": "object"}
    whole = {"type": "object", "required": ["spec"]} | schema
    whole["properties"] = head | schema["properties"]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": list(columns),
                    "schema": {"openAPIV3Schema": whole},
                }
            ],
        },
    }
