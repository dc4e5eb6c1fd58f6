"""Kueue itself, as a process beside a control plane, with its webhooks and conversions.

CRDs, webhooks and the configuration are those that its module brings. What is changed is what a
process outside of a cluster cannot have: the webhooks are reached by a URL and not by a Service,
their certificate lies where the kubelet would mount it, and without an aggregated API server there
is no API that shows what waits.
"""

import base64
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from localcluster.apiclient import answers
from localcluster.controlplane import ControlPlane
from localcluster.kubeconfig import write_kubeconfig
from localcluster.pki import Certificate
from localcluster.ports import free_port
from localcluster.processes import Command, Supervisor
from localcluster.toolchain import module_dir
from localcluster.tools import tool
from tests.conftest import kubectl_with
from tests.operator.world import JsonObject, eventually

NAME = "kueue"
USER = Certificate(NAME, NAME, "system:masters")
NAMESPACE = "kueue-system"
SECRET = "kueue-webhook-server-cert"
AUTHORITY = "kueue-ca"
SERVING = Certificate("kueue-webhook", "kueue-webhook", "", ("IP:127.0.0.1",), AUTHORITY)
CONVERTED = ("localqueues", "clusterqueues", "cohorts", "workloads", "multikueueclusters")
"""Kinds that Kueue converts between their versions."""


class KueueProcess:
    """Kueue with one control plane, among whose certificates is USER; a context manager."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._kubectl = kubectl_with(plane.kubeconfig)
        self._folder = folder
        self._certificates = folder / "certificates"
        self._components = module_dir("kueue", "sigs.k8s.io/kueue") / "config/components"
        self._port, self._health = free_port("127.0.0.1"), free_port("127.0.0.1")
        self._kubeconfig = folder / "kueue.kubeconfig"
        write_kubeconfig(self._kubeconfig, plane.url, plane.pki, USER.name)
        self._supervisor = Supervisor(
            folder / "run",
            folder / "logs",
            die_with_parent=True,
            environment=os.environ | {"KUBECONFIG": str(self._kubeconfig)},
        )

    def __enter__(self) -> Self:
        self._apply(*self._crds(), *self._webhooks(), *self._secret())
        config = self._folder / "kueue.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        try:
            self._supervisor.start(Command(NAME, (str(tool(NAME)), f"--config={config}")))
            self._mount_certificate()
            eventually(
                lambda: answers(f"http://127.0.0.1:{self._health}/readyz"),
                what=f"Kueue is ready; {self._supervisor.log(NAME)}",
                timeout_s=60,
                every_s=0.2,
            )
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._supervisor.stop(NAME, grace_s=0)

    def _apply(self, *manifests: JsonObject) -> None:
        whole = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self._kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(whole))

    def _crds(self) -> list[JsonObject]:
        files = (self._components / "crd/bases").glob("*.yaml")
        crds = [yaml.load(file.read_text(), yaml.CSafeLoader) for file in sorted(files)]
        for crd in crds:
            if crd["spec"]["names"]["plural"] in CONVERTED:
                webhook = {
                    "clientConfig": self._client_config("/convert"),
                    "conversionReviewVersions": ["v1"],
                }
                crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
        return crds

    def _webhooks(self) -> list[JsonObject]:
        text = (self._components / "webhook/manifests.yaml").read_text()
        found = list(yaml.safe_load_all(text))
        for configuration in found:
            configuration["metadata"]["name"] = f"kueue-{configuration['metadata']['name']}"
            for webhook in configuration["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                webhook["clientConfig"] = self._client_config(path)
        return found

    def _client_config(self, path: str) -> JsonObject:
        """Kueue puts its authority's certificate there."""
        return {"url": f"https://127.0.0.1:{self._port}{path}"}

    def _secret(self) -> tuple[JsonObject, JsonObject]:
        meta = {"name": SECRET, "namespace": NAMESPACE}
        return (
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": meta},
        )

    def _config(self) -> JsonObject:
        text = (self._components / "manager/controller_manager_config.yaml").read_text()
        config: JsonObject = yaml.safe_load(text)
        return config | {
            "manageJobsWithoutQueueName": True,  # as some platforms have it, to show what it does
            "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self._health}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {
                "host": "127.0.0.1",
                "port": self._port,
                "certDir": str(self._certificates),
            },
            "leaderElection": {"leaderElect": False},
            "featureGates": {"VisibilityOnDemand": False},
        }

    def _mount_certificate(self) -> None:
        """A certificate for this address by the authority that Kueue makes for itself."""

        def authority() -> dict[str, Any] | None:
            path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
            return self._plane.client().get(path).get("data")

        data = eventually(authority, what=f"Kueue's authority; {self._supervisor.log(NAME)}")
        pki = self._plane.pki
        pki.certificate(AUTHORITY).write_bytes(base64.b64decode(data["ca.crt"]))
        pki.key(AUTHORITY).write_bytes(base64.b64decode(data["ca.key"]))
        pki.ensure((SERVING,))
        self._certificates.mkdir()
        (self._certificates / "tls.key").write_bytes(pki.key(SERVING.name).read_bytes())
        # the last, since this is what Kueue waits for
        (self._certificates / "tls.crt").write_bytes(pki.certificate(SERVING.name).read_bytes())
