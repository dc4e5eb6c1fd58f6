"""The whole system on the single-node cluster, as the demo sets it up."""

import csv
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localassets import trec
from localdemo.__main__ import EXAMPLE
from localdemo.setup import SECRET, install_operator, user_data, user_namespace
from localdemo.site import Site, local_site

Status = dict[str, Any]

LONG = {"epochs": 12, "batchSize": 16}
"""Training for half a minute with 200 rows, so that something can come between."""
TEST_LABEL = "embedtune.dev/test"
"""On each namespace made here, so that what a killed run left can be told from a user's."""


def training(status: Status) -> bool:
    """Whether steps have been made, and more are to come."""
    progress = status.get("progress") or {}
    return progress.get("phase") == "Training" and progress["step"] > 0


@pytest.fixture(scope="session")
def site() -> Site:
    """The local cluster with the images, the operator, a backbone and data."""
    site = local_site()
    site.kubectl("delete", "namespace", "-l", TEST_LABEL, "--timeout=120s")  # it may hold the CPUs
    site.provide_images()
    install_operator(site)
    user_data(site, EXAMPLE)
    return site


@dataclass
class User:
    """A namespace of its own, and what its owner does in it."""

    site: Site
    namespace: str
    folder: Path

    def data(self, rows: list[tuple[str, str]]) -> str:
        """Put a CSV of text,label into S3; returns its URI."""
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        with (folder / "train.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("text", "label"), *rows])
        self.site.upload("datasets", f"{self.namespace}/{folder.name}", folder)
        return f"s3://datasets/{self.namespace}/{folder.name}/train.csv"

    def apply(self, name: str, uri: str, **spec: Any) -> None:
        """Apply a small job; further spec fields override the defaults here."""
        body = {
            "model": {"backbone": "s3://bases/all-MiniLM-L6-v2"},
            "data": {"train": {"uri": uri}},
            "training": {"epochs": 1, "batchSize": 16},
            "output": {"uri": "s3://models/e2e"},
            "storage": {"secretRef": {"name": SECRET}},
            "resources": {"cpu": "1", "memory": "2Gi"},
        } | spec
        job = {
            "apiVersion": "embedtune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": body,
        }
        self.site.kubectl("apply", "-f", "-", stdin=json.dumps(job))

    def get(self, *what: str) -> dict[str, Any]:
        """One object or list, as JSON."""
        found = self.site.kubectl("get", *what, "-n", self.namespace, "-o", "json")
        result: dict[str, Any] = json.loads(found)
        return result

    def status(self, name: str) -> Status:
        """The job's status."""
        status: Status = self.get("ftj", name).get("status", {})
        return status

    def wait(self, name: str, done: Callable[[Status], object], timeout_s: int = 480) -> Status:
        """Wait until the status is so; fails with what it was."""
        deadline = time.monotonic() + timeout_s
        while not done(status := self.status(name)):
            if time.monotonic() > deadline or status.get("state") in ("Complete", "Failed"):
                described = self.site.kubectl("describe", "ftj,pods", "-n", self.namespace)
                raise AssertionError(f"{name} is {json.dumps(status, indent=1)}\n{described}")
            time.sleep(0.5)
        return status

    def finish(self, name: str, timeout_s: int = 480) -> Status:
        """Wait until the job has ended, either way."""
        return self.wait(name, lambda s: s.get("state") in ("Complete", "Failed"), timeout_s)

    def pods(self, name: str) -> list[dict[str, Any]]:
        """The job's pods that still exist."""
        pods: list[dict[str, Any]] = self.get("pods", "-l", f"embedtune.dev/job-name={name}")[
            "items"
        ]
        return pods

    def objects_in_s3(self, name: str) -> set[str]:
        """Names below the job's prefix."""
        uid = self.get("ftj", name)["metadata"]["uid"]
        prefix = f"e2e/{self.namespace}/{name}/{uid}/"
        with self.site.s3() as client:
            found = client.list_objects("models", prefix=prefix, recursive=True)
            return {str(o.object_name).removeprefix(prefix) for o in found}


def make_user(site: Site, folder: Path) -> Iterator[User]:
    """A user whose namespace goes when the test is over."""
    user = User(site, f"e2e-{uuid.uuid4().hex[:8]}", folder)
    user_namespace(site, user.namespace)
    site.kubectl("label", "namespace", user.namespace, f"{TEST_LABEL}=e2e")
    yield user
    site.kubectl("delete", "namespace", user.namespace, "--wait=false")


@pytest.fixture
def user(site: Site, tmp_path: Path) -> Iterator[User]:
    yield from make_user(site, tmp_path)


@pytest.fixture
def other_user(site: Site, tmp_path: Path) -> Iterator[User]:
    yield from make_user(site, tmp_path)


@pytest.fixture(scope="session")
def questions() -> list[tuple[str, str]]:
    """400 real questions of six classes."""
    with trec().train.open(newline="") as stream:
        rows = [(row["text"], row["label"].partition(":")[0]) for row in csv.DictReader(stream)]
    return rows[:400]
