"""Writes kubeconfig files, with the certificates inside so that one file is enough."""

import base64
import json
from pathlib import Path

from localcluster.files import write_if_changed
from localcluster.pki import Pki

CONTEXT = "embedtune-local"


def write_kubeconfig(path: Path, server: str, pki: Pki, user: str) -> bool:
    """Writes the kubeconfig of one user of the PKI (JSON is YAML too); says if it changed."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": CONTEXT,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": _inline(pki.certificate("ca")),
                },
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _inline(pki.certificate(user)),
                    "client-key-data": _inline(pki.key(user)),
                },
            }
        ],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": user}}],
        "current-context": CONTEXT,
    }
    return write_if_changed(path, json.dumps(content, indent=1) + "\n")


def _inline(pem: Path) -> str:
    return base64.b64encode(pem.read_bytes()).decode()
