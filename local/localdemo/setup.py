"""What the demo and the end-to-end tests set up in a cluster: the operator, and a user's side."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from localassets.catalogue import ASSETS, named_in
from localcluster.tools import tool
from localdemo.site import ROOT, Site

CHART = ROOT / "helm/embedtune"
SYSTEM_NAMESPACE = "embedtune-system"
SECRET = "s3-credentials"


def install_operator(
    site: Site, chart: Path = CHART, other_values: Mapping[str, str] | None = None
) -> None:
    """`helm upgrade --install`, and wait until the operator is ready."""
    chosen = site.chart_values() | dict(other_values or {})
    values = [f"--set={key}={value}" for key, value in chosen.items()]
    subprocess.run(
        [
            *(str(tool("helm")), "upgrade", "--install", "embedtune", str(chart)),
            *("--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"),
            *site.helm_flags(),
            *values,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def user_namespace(site: Site, name: str) -> None:
    """A namespace that enforces restricted pods, with the S3 credentials in a Secret."""
    namespace: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": name},
        "stringData": {
            "AWS_ACCESS_KEY_ID": site.access_key,
            "AWS_SECRET_ACCESS_KEY": site.secret_key,
        },
    }
    for item in (namespace, secret):
        site.kubectl("apply", "-f", "-", stdin=json.dumps(item))


def job_name(job_file: Path) -> tuple[str, str]:
    """Namespace and name of a FineTuneJob file."""
    metadata = yaml.safe_load(job_file.read_text())["metadata"]
    return metadata["namespace"], metadata["name"]


def apply_anew(site: Site, job_file: Path) -> None:
    """`kubectl apply`, once a job of that name is gone."""
    namespace, name = job_name(job_file)
    site.kubectl("delete", "ftj", name, "-n", namespace, "--ignore-not-found")
    site.kubectl("apply", "-f", str(job_file))


def user_data(site: Site, job_file: Path) -> None:
    """What the file names of models and data in their buckets, and an empty bucket models."""
    for key in named_in(job_file):
        bucket, _, name = key.partition("/")
        site.upload(bucket, name, ASSETS[key]())
    site.make_bucket("models")
