"""API objects as the API server would give them, for tests that need no server."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from embedtune_api.runtime import RUNTIME
from embedtune_operator.children import ChildJob, Pod
from embedtune_operator.settings import Settings
from embedtune_operator.views import StoredJob
from tests.operator.world import SPEC

JsonObject = dict[str, Any]

GOLDEN = Path(__file__).parent.parent / "golden/operator"
UID = "0f8fad5b-d9cb-469f-a165-70867728950e"
CHILD_UID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
CHILD = "tune-0f8fad5b"
NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
CREATED = "2026-11-24T11:59:59Z"
SETTINGS = Settings.from_env(
    {
        "EMBEDTUNE_TRAINER_IMAGE": "ghcr.io/embedtune/trainer:0.1.0",
        "EMBEDTUNE_S3_ENDPOINT": "http://minio.minio.svc:9000",
        "EMBEDTUNE_SIZING": "false",
    }
)
OUTPUT = f"s3://models/tuned/search/tune/{UID}/"


def stored(
    status: JsonObject | None = None,
    *,
    generation: int = 1,
    meta: JsonObject | None = None,
    **spec: Any,
) -> StoredJob:
    """A FineTuneJob."""
    raw = raw_job(status, generation=generation, **spec)
    raw["metadata"] |= meta or {}
    return StoredJob.of(raw)


def raw_job(status: JsonObject | None = None, *, generation: int = 1, **spec: Any) -> JsonObject:
    """A FineTuneJob as the API server gives it."""
    return {
        "apiVersion": "embedtune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {
            "name": "tune",
            "namespace": "search",
            "uid": UID,
            "generation": generation,
            "resourceVersion": "10",
            "creationTimestamp": CREATED,
        },
        "spec": SPEC | spec,
        "status": status or {},
    }


def raw_runtime(name: str = "team", kind: str = RUNTIME, **spec: Any) -> JsonObject:
    """A runtime as the API server gives it."""
    metadata: JsonObject = {
        "name": name,
        "uid": f"uid-of-{name}",
        "generation": 3,
        "resourceVersion": "7",
        "creationTimestamp": CREATED,
    }
    if kind == RUNTIME:
        metadata["namespace"] = "search"
    return {
        "apiVersion": "embedtune.dev/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def child(
    *conditions: tuple[str, str],
    failed: int = 0,
    version: int = 20,
    resumed: str | None = None,
    spec: JsonObject | None = None,
    **meta: Any,
) -> ChildJob:
    """The child Job, with conditions (type, reason) that are True."""
    was_suspended = [{"type": "Suspended", "status": "False", "lastTransitionTime": resumed}]
    return ChildJob.of(
        {
            "metadata": {
                "name": CHILD,
                "namespace": "search",
                "uid": CHILD_UID,
                "resourceVersion": str(version),
                "creationTimestamp": CREATED,
                "ownerReferences": [{"uid": UID, "controller": True}],
                **meta,
            },
            "spec": {"backoffLimit": 3, **(spec or {})},
            "status": {
                "failed": failed,
                "conditions": [
                    {"type": kind, "status": "True", "reason": reason, "message": f"{reason}."}
                    for kind, reason in conditions
                ]
                + (was_suspended if resumed else []),
            },
        }
    )


def pod(
    state: JsonObject | None = None,
    *,
    phase: str = "Pending",
    name: str = f"{CHILD}-abcde",
    node: str = "node-1",
    owner: str = CHILD_UID,
    created: str = CREATED,
    meta: JsonObject | None = None,
    **status: Any,
) -> Pod:
    """A pod of the child Job."""
    statuses = [{"name": "trainer", "state": state}] if state else []
    limits = {"memory": "4Gi"}
    return Pod.of(
        {
            "metadata": {
                "name": name,
                "namespace": "search",
                "uid": f"uid-of-{name}",
                "resourceVersion": "30",
                "creationTimestamp": created,
                "labels": {"embedtune.dev/job-uid": UID},
                "ownerReferences": [{"uid": owner, "controller": True}],
                **(meta or {}),
            },
            "spec": {
                "nodeName": node,
                "containers": [{"name": "trainer", "resources": {"limits": limits}}],
            },
            "status": {"phase": phase, "containerStatuses": statuses, **status},
        }
    )


def running(**more: Any) -> Pod:
    """A pod in which the trainer works."""
    state = {"running": {"startedAt": "2026-11-24T11:59:59Z"}}
    return pod(state, phase="Running", podIP="10.0.0.7", **more)


def waiting(reason: str, message: str = "") -> Pod:
    """A pod whose container is not made yet."""
    return pod({"waiting": {"reason": reason, "message": message}})


def ended(
    code: int,
    message: str = "",
    reason: str = "Error",
    finished: str = "2026-11-24T11:59:50Z",
    **more: Any,
) -> Pod:
    """A pod whose trainer has ended, ten seconds ago."""
    state = {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": "2026-11-24T11:59:00Z",
            "finishedAt": finished,
        }
    }
    return pod(state, phase="Failed" if code else "Succeeded", **more)


def golden(path: str, found: Any) -> None:
    """Compare with a golden YAML file; UPDATE_GOLDEN=1 writes it."""
    file = GOLDEN / path
    text = yaml.safe_dump(found, sort_keys=False, width=100, allow_unicode=True)
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert yaml.safe_load(file.read_text()) == found, f"differs from {file}"
