"""Kueue's part, played by the test: it writes what Kueue writes, as another field manager.

It starts a Job that its queue has let in by suspend: false with the flavour's node selector and
tolerations in the template, and takes it out again, and those with it, by suspend: true.
test_kueue_live.py has Kueue itself do so, which takes too long to build for every run.
"""

import json
from typing import Any

from localcluster.controlplane import ControlPlane
from tests.conftest import kubectl_with
from tests.operator.world import JsonObject, Namespace

QUEUE = "kueue.x-k8s.io/queue-name"
FLAVOUR: JsonObject = {
    "nodeSelector": {"cloud.provider.com/flavour": "spot"},
    "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
}
WORKLOADS: JsonObject = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "workloads.kueue.x-k8s.io"},
    "spec": {
        "group": "kueue.x-k8s.io",
        "scope": "Namespaced",
        "names": {"kind": "Workload", "plural": "workloads", "singular": "workload"},
        "versions": [
            {
                "name": "v1beta2",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


class Kueue:
    """What Kueue does with one job."""

    def __init__(self, plane: ControlPlane, ns: Namespace, job: str = "tune") -> None:
        self._kubectl = kubectl_with(plane.kubeconfig)
        self._ns = ns
        self._job = job

    @property
    def _child(self) -> JsonObject:
        """The metadata of its child Job."""
        name = self._ns.status(self._job)["jobName"]
        found: JsonObject = self._ns.api.get(self._ns.path("jobs", name))["metadata"]
        return found

    def install(self) -> None:
        """The kind that Kueue keeps its own account in."""
        self._kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(WORKLOADS))
        crd = f"crd/{WORKLOADS['metadata']['name']}"
        self._kubectl("wait", "--for=condition=Established", crd, "--timeout=20s")

    def take_note(self) -> None:
        """Make the Workload of the child Job."""
        labels = {"kueue.x-k8s.io/job-uid": self._child["uid"]}
        body = {
            "apiVersion": "kueue.x-k8s.io/v1beta2",
            "kind": "Workload",
            "metadata": {"name": "job-tune", "namespace": self._ns.name, "labels": labels},
            "spec": {"active": True, "queueName": "team"},
        }
        self._kubectl("create", "-f", "-", stdin=json.dumps(body))

    @property
    def active(self) -> bool:
        """Whether the Workload may be let in."""
        found = self._kubectl("get", "workload", "job-tune", "-n", self._ns.name, "-o", "json")
        active: bool = json.loads(found.stdout)["spec"]["active"]
        return active

    def let_in(self) -> None:
        """Start the Job on a flavour's nodes."""
        self._apply({"suspend": False, "template": {"spec": FLAVOUR}})

    def take_out(self) -> None:
        """Suspend the Job, for another or for its user; its template is then what it was."""
        self._apply({"suspend": True, "template": {"spec": FLAVOUR}})
        # only that of a Job that has not started may change
        self._ns.patch("jobs", f"{self._child['name']}/status", {"status": {"startTime": None}})
        self._apply({"suspend": True})

    def _apply(self, spec: JsonObject) -> None:
        body: dict[str, Any] = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": self._child["name"], "namespace": self._ns.name},
            "spec": spec,
        }
        manager = ("--field-manager=kueue", "--force-conflicts")
        self._kubectl("apply", "--server-side", *manager, "-f", "-", stdin=json.dumps(body))
