"""Where the demo runs: the local cluster, or one that the user has."""

import functools
import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minio import Minio

from localcluster import cluster, images
from localcluster.tools import tool
from localdemo import minio_site

S3_IN_CLUSTER = "http://minio.minio.svc:9000"
ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("crds/embedtune_api", "operator", "trainer", "requirements")


@dataclass(frozen=True)
class Site:
    """A cluster with an S3 service in it."""

    name: str
    kubeconfig: Path | None
    context: str | None
    repository: str
    """What stands before /operator and /trainer in an image's name."""
    access_key: str
    secret_key: str
    provide_images: Callable[[], None]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Kubectl's output; what it complains of goes to the user."""
        command = [str(tool("kubectl")), *self._flags("--context"), *arguments]
        return subprocess.run(
            command, input=stdin, check=True, text=True, stdout=subprocess.PIPE
        ).stdout

    def helm_flags(self) -> list[str]:
        """Where helm is to look."""
        return self._flags("--kube-context")

    def _flags(self, context: str) -> list[str]:
        flags = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        return flags + ([context, self.context] if self.context else [])

    def chart_values(self) -> dict[str, str]:
        """The chart's values that this cluster needs."""
        return {
            "operator.image.repository": f"{self.repository}/operator",
            "operator.image.tag": source_tag(),
            "trainer.image.repository": f"{self.repository}/trainer",
            "trainer.image.tag": source_tag(),
            "storage.endpoint": S3_IN_CLUSTER,
            # on two cores a pod that sizes each job costs more than it gains
            "sizing.enabled": "false",
            "defaults.cpu": "1700m",
            "defaults.memory": "4Gi",
        }

    @contextmanager
    def s3(self) -> Iterator[Minio]:
        """A client of the cluster's S3 service, through kubectl port-forward."""
        command = [str(tool("kubectl")), *self._flags("--context")]
        command += ["port-forward", "-n", "minio", "service/minio", ":9000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
            try:
                line = forward.stdout.readline() if forward.stdout else ""
                if "->" not in line:
                    raise RuntimeError("kubectl port-forward to minio gave no port")
                port = line.split(" -> ")[0].rpartition(":")[2]
                yield Minio(
                    f"127.0.0.1:{port}",
                    access_key=self.access_key,
                    secret_key=self.secret_key,
                    secure=False,
                )
            finally:
                forward.terminate()

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket if it is not there."""
        with self.s3() as client:
            if not client.bucket_exists(bucket):
                client.make_bucket(bucket)

    def upload(self, bucket: str, name: str, source: Path) -> None:
        """Put a file in a bucket, or a folder's files under a prefix."""
        self.make_bucket(bucket)
        begin = time.monotonic()
        files = {name: source}
        if source.is_dir():
            found = (f for f in sorted(source.rglob("*")) if f.is_file())
            files = {f"{name}/{file.relative_to(source)}": file for file in found}
        with self.s3() as client, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda k: client.fput_object(bucket, k, str(files[k])), files))
        seconds = time.monotonic() - begin
        print(f"  s3://{bucket}/{name}: {len(files)} files in {seconds:.1f} s")

    def farewell(self, namespace: str, name: str) -> str:
        """What to try next."""
        export = f"export KUBECONFIG={self.kubeconfig}\n  " if self.kubeconfig else ""
        return (
            f"Look around:\n  {export}kubectl describe ftj {name} -n {namespace}\n"
            f"  kubectl logs -n {namespace} -l embedtune.dev/job-name={name}\n"
            + ("Stop it all:\n  make cluster-down" if self.kubeconfig else "")
        )


@functools.cache
def source_tag() -> str:
    """A tag that changes with the images' sources, so that a new operator is rolled out.

    One answer a process: what was built is what the chart is told, whatever is edited meanwhile.
    """
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return f"src-{digest.hexdigest()[:12]}"


def local_site() -> Site:
    """The single-node cluster of local/, started if it does not run."""
    info = cluster.ensure_up()
    return Site(
        name="the local cluster",
        kubeconfig=info.kubeconfig,
        context=None,
        repository="localhost/embedtune",
        access_key=info.access_key,
        secret_key=info.secret_key,
        provide_images=lambda: images.load(tag=source_tag()),
    )


def existing_site(context: str, registry: str) -> Site:
    """A cluster that the user has; MinIO goes in it too, from the user's registry."""
    access_key, secret_key = minio_site.KEYS
    site = Site(
        name=context,
        kubeconfig=None,
        context=context,
        repository=registry.rstrip("/"),
        access_key=access_key,
        secret_key=secret_key,
        provide_images=lambda: images.push(registry, tag=source_tag()),
    )
    site.kubectl("apply", "-f", "-", stdin=minio_site.manifest(minio_site.push(registry)))
    site.kubectl("rollout", "status", "deployment/minio", "-n", "minio", "--timeout=180s")
    return site
