"""The rules by which kstatus judges a custom resource, as cli-utils documents them.

Flux (`wait: true`, health checks, dependsOn), kpt and others judge by these.
"""

from typing import Any


def kstatus(resource: dict[str, Any]) -> str:
    """InProgress, Failed, Current or Terminating."""
    meta, status = resource["metadata"], resource.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating"
    observed = status.get("observedGeneration")
    if observed is not None and observed != meta["generation"]:
        return "InProgress"
    conditions = status.get("conditions") or []
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] == "Reconciling":
            return "InProgress"
        if condition["status"] == "True" and condition["type"] == "Stalled":
            return "Failed"
    ready = next((c["status"] for c in conditions if c["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"
