"""A queue of Kueue's that a team shares with others, and who wrote what into the team's Jobs."""

import json
from dataclasses import dataclass
from pathlib import Path

from embedtune_operator.names import MANAGER
from localcluster.controlplane import ControlPlane
from tests.operator.world import JsonObject, Namespace, eventually

KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
TEAM = {QUEUE: "team"}
ONE: JsonObject = {"resources": {"cpu": "1", "memory": "1Gi"}}
"""What half of a queue's room is enough for."""
PRIORITIES = {"usual": 10, "urgent": 1000}
SPOT: JsonObject = {
    "nodeLabels": {"cloud.provider.com/flavour": "spot"},
    "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
}


def create(plane: ControlPlane, plural: str, kind: str, name: str, rest: JsonObject) -> None:
    """One of Kueue's objects."""
    namespace, _, name = name.rpartition("/")
    where = f"namespaces/{namespace}/{plural}" if namespace else plural
    body = {"apiVersion": KUEUE.removeprefix("/apis/"), "kind": kind, "metadata": {"name": name}}
    plane.client().call("POST", f"{KUEUE}/{where}", body | rest)


@dataclass
class Queue:
    """A ClusterQueue with room for two CPUs, which a team shares with others."""

    plane: ControlPlane
    ns: Namespace
    others: Namespace
    audit_log: Path

    def create(self) -> "Queue":
        """Make it, with a LocalQueue in each of both namespaces."""
        resources = [{"name": "cpu", "nominalQuota": 2}, {"name": "memory", "nominalQuota": "4Gi"}]
        group = {
            "coveredResources": ["cpu", "memory"],
            "flavors": [{"name": "spot", "resources": resources}],
        }
        spec = {
            "namespaceSelector": {},
            "resourceGroups": [group],
            "preemption": {"withinClusterQueue": "LowerPriority"},
        }
        create(self.plane, "clusterqueues", "ClusterQueue", self.ns.name, {"spec": spec})
        self.local(self.ns, "team")
        self.local(self.others, "team")
        return self

    def local(self, ns: Namespace, name: str) -> None:
        """A LocalQueue."""
        spec = {"clusterQueue": self.ns.name}
        create(self.plane, "localqueues", "LocalQueue", f"{ns.name}/{name}", {"spec": spec})

    def take_room(self, priority: str = "usual", cpus: int = 2) -> None:
        """Others submit a Job; it runs once Kueue has let it in."""
        name = f"{priority}-{cpus}"
        requests = {"cpu": cpus, "memory": "1Gi"}
        container = {"name": "work", "image": "work", "resources": {"requests": requests}}
        body = {
            "metadata": {"name": name, "labels": TEAM | {PRIORITY: priority}},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        }
        self.others.api.call("POST", self.others.path("jobs"), body)

    def free_room(self) -> None:
        """The others' Job goes; its Workload within 30 s of the first, when the kind is new."""
        self.others.delete("jobs", self.others.child()["metadata"]["name"])
        eventually(lambda: not self.workloads(self.others), what="the other goes", timeout_s=60)

    def wait_taken(self) -> None:
        """The others' Job is let in."""
        eventually(lambda: not self.others.child()["spec"]["suspend"], what="the other is let in")

    def workloads(self, of: Namespace | None = None) -> list[JsonObject]:
        """What Kueue keeps of the team's Jobs, or of the others'."""
        path = f"{KUEUE}/namespaces/{(of or self.ns).name}/workloads"
        items: list[JsonObject] = self.plane.client().get(path)["items"]
        return items

    def workload(self) -> JsonObject:
        """That of the only one, once it is there."""
        return eventually(self.workloads, what="a Workload")[0]

    def says(self, kind: str) -> bool:
        """Whether a condition of the Workload holds."""
        conditions = self.workload().get("status", {}).get("conditions", ())
        return any(c["type"] == kind and c["status"] == "True" for c in conditions)

    def suspend_changed(self) -> list[bool]:
        """What the operator wrote into spec.suspend of the team's Jobs after it had made them."""
        return [
            entry["requestObject"]["spec"]["suspend"]
            for entry in self.written("jobs")
            if entry["verb"] == "patch" and "suspend" in entry["requestObject"]["spec"]
        ]

    def written(self, plural: str) -> list[JsonObject]:
        """The operator's writes to the team's objects of a kind."""
        whole, _, _being_written = self.audit_log.read_text().rpartition("\n")
        return [
            entry
            for entry in map(json.loads, whole.splitlines())
            if f"fieldManager={MANAGER}" in entry["requestURI"]
            and f"/namespaces/{self.ns.name}/{plural}" in entry["requestURI"]
        ]


def writers_of_suspend(job: JsonObject) -> set[str]:
    """The field managers whose word spec.suspend is."""
    return {
        entry["manager"]
        for entry in job["metadata"]["managedFields"]
        if "f:suspend" in entry["fieldsV1"].get("f:spec", {})
    }


def owner(workload: JsonObject) -> str:
    """The Job that it is of."""
    name: str = workload["metadata"]["ownerReferences"][0]["name"]
    return name
