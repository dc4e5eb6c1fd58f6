"""The emitted schema by itself; what a real API server makes of it is in test_apiserver."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import Field

from embedtune_api.base import ApiModel
from embedtune_api.schema import SchemaError, definitions, structural
from embedtune_api.spec import FineTuneJobSpec

VERSIONS = {plural: d["spec"]["versions"][0] for plural, d in definitions().items()}
SCHEMAS = {plural: v["schema"]["openAPIV3Schema"]["properties"] for plural, v in VERSIONS.items()}
PARTS = [
    (plural, part) for plural, s in SCHEMAS.items() for part in ("spec", "status") if part in s
]
SPECS = [schema["spec"] for schema in SCHEMAS.values()]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key, label in (("items", "[]"), ("additionalProperties", "[]")):
        if key in schema:
            yield from nodes(schema[key], f"{path}{label}")


@pytest.mark.parametrize(("plural", "part"), PARTS)
def test_every_field_is_described(plural: str, part: str) -> None:
    bare = [
        path
        for path, node in nodes(SCHEMAS[plural][part], part)
        if not path.endswith("[]") and not node.get("description", "").endswith((".", ")"))
    ]
    assert bare == []


def test_every_spec_field_says_its_default_or_that_it_is_required() -> None:
    silent = [
        path
        for spec in SPECS
        for path, node in nodes(spec, "spec")
        if "default" in node
        and node["default"] not in ({}, [])
        and "Default" not in node["description"]
    ]
    assert silent == []


def test_every_string_and_list_of_the_spec_is_bounded() -> None:
    """The API server refuses CEL rules whose cost it cannot bound."""
    unbounded = [
        path
        for spec in SPECS
        for path, node in nodes(spec, "spec")
        if (node.get("type") == "string" and not {"maxLength", "enum"} & set(node))
        or (node.get("type") == "array" and "maxItems" not in node)
    ]
    assert unbounded == []


def test_the_schemas_defaults_are_the_types_defaults() -> None:
    properties = SCHEMAS["finetunejobs"]["spec"]["properties"]
    assert properties["training"]["properties"]["epochs"]["default"] == 5
    assert properties["training"]["default"] == {}
    assert FineTuneJobSpec.model_fields["training"].default.epochs == 5


def test_a_type_without_a_structural_schema_is_an_error_here() -> None:
    class Union(ApiModel):
        either: int | str = Field(default=1)

    with pytest.raises(SchemaError, match="union"):
        structural(Union)


@pytest.mark.parametrize("plural", VERSIONS)
def test_columns_read_fields_that_exist(plural: str) -> None:
    for column in VERSIONS[plural]["additionalPrinterColumns"]:
        node: dict[str, Any] = {"properties": SCHEMAS[plural]}
        steps = column["jsonPath"].strip(".").split(".")
        if steps[0] == "metadata":
            continue
        for step in steps:
            node = node["properties"][step]
