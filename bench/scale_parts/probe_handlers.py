"""The probe's handler: kopf runs this file (see probe.py)."""

import os
import ssl
from typing import Any

import aiohttp
import kopf

from scale_parts.probe import GROUP, LABEL, PLURAL, VERSION
from scale_parts.systems import IMAGE, RESOURCES


@kopf.on.startup()
async def _connect(memo: kopf.Memo, **_: object) -> None:
    tls = ssl.create_default_context(cafile=os.environ["PROBE_CA"])
    tls.load_cert_chain(os.environ["PROBE_CERTIFICATE"], os.environ["PROBE_KEY"])
    connector = aiohttp.TCPConnector(ssl=tls)
    memo.session = aiohttp.ClientSession(os.environ["PROBE_URL"], connector=connector)


@kopf.on.create(GROUP, VERSION, PLURAL)
async def create(body: kopf.Body, patch: kopf.Patch, memo: kopf.Memo, **_: object) -> None:
    """Apply the Job; kopf writes the status."""
    name, namespace = body.metadata.name, body.metadata.namespace
    container = {"name": "main", "image": IMAGE, "resources": RESOURCES}
    job: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {LABEL: name}},
        "spec": {
            "template": {
                "metadata": {"labels": {LABEL: name}},
                "spec": {"restartPolicy": "Never", "containers": [container]},
            }
        },
    }
    kopf.append_owner_reference(job, body)
    async with memo.session.patch(
        f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}",
        params={"fieldManager": "probe", "force": "true"},
        json=job,
        headers={"Content-Type": "application/apply-patch+yaml"},
    ) as answer:
        answer.raise_for_status()
    patch.status["state"] = "Created"
