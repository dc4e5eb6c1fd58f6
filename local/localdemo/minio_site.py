"""MinIO in a cluster that the user has: the local cluster's manifests, without what is local."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from localcluster import addons, imagestore
from localcluster.config import Config
from localcluster.tools import owner, tool

KEYS = (Config().s3_access_key, Config().s3_secret_key)
_DOCKERFILE = 'FROM scratch\nCOPY minio /bin/minio\nENTRYPOINT ["/bin/minio"]\n'


def push(registry: str) -> str:
    """Build MinIO's image and push it; its name in the registry."""
    name = f"{registry.rstrip('/')}/minio:{owner(addons.MINIO).cache_key()}"
    with imagestore.opened() as store, tempfile.TemporaryDirectory(dir=store.folder) as scratch:
        folder = Path(scratch)
        shutil.copy(tool(addons.MINIO), folder / "minio")
        (folder / "Dockerfile").write_text(_DOCKERFILE)
        local = "localhost/embedtune/minio:push"
        store.buildah("bud", "--isolation=chroot", "--tag", local, ".", cwd=folder)
        store.push(local, name)
    return name


def manifest(image: str) -> str:
    """MinIO with data that goes when its pod goes, as a List in JSON."""
    items = list(yaml.safe_load_all(addons.rendered(addons.MINIO, Config())))
    for item in items:
        if item["kind"] == "Service":
            del item["spec"]["clusterIP"]
        if item["kind"] == "Deployment":
            _anywhere(item["spec"]["template"]["spec"], image)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _anywhere(pod: dict[str, Any], image: str) -> None:
    (container,) = pod["containers"]
    container["image"] = image
    container["imagePullPolicy"] = "IfNotPresent"
    pod["volumes"] = [{"name": "data", "emptyDir": {}}]
