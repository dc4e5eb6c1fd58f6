"""The demo's job, and the model that it leaves in S3."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedtune_trainer.artifact import verify
from localassets import trec
from localdemo.__main__ import EXAMPLE
from localdemo.setup import apply_anew, user_namespace
from localdemo.site import Site
from tests.e2e.conftest import User

pytestmark = pytest.mark.cluster
NAMESPACE, NAME = "search", "question-search"


@pytest.fixture(scope="module")
def finished(site: Site, tmp_path_factory: pytest.TempPathFactory) -> User:
    """The demo's job, run to its end."""
    user = User(site, NAMESPACE, tmp_path_factory.mktemp("demo"))
    user_namespace(site, NAMESPACE)
    apply_anew(site, EXAMPLE)
    assert user.finish(NAME, timeout_s=600)["state"] == "Complete"
    return user


@pytest.fixture(scope="module")
def model_folder(finished: User, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, downloaded from where the status says."""
    folder = tmp_path_factory.mktemp("model")
    prefix = finished.status(NAME)["model"]["uri"].removeprefix("s3://models/")
    with finished.site.s3() as client:
        for item in client.list_objects("models", prefix=prefix, recursive=True):
            name = str(item.object_name)
            client.fget_object("models", name, str(folder / name.removeprefix(prefix)))
    return folder


def test_the_model_got_better(finished: User) -> None:
    metrics = finished.status(NAME)["metrics"]
    headline = metrics["headline"]
    assert float(headline["after"]) > float(headline["before"]) + 0.1
    assert float(metrics["before"]["precision_at_1"]) == pytest.approx(0.472, abs=0.02)
    assert float(metrics["after"]["precision_at_1"]) > 0.85


def test_the_status_tells_it_all(finished: User) -> None:
    status = finished.status(NAME)
    true = {c["type"] for c in status["conditions"] if c["status"] == "True"}
    assert true == {"Complete", "ModelExported"}
    assert status["progress"]["percent"] == 100
    assert status["model"]["embeddingDim"] == 384
    row = finished.site.kubectl("get", "ftj", NAME, "-n", NAMESPACE).splitlines()[1].split()
    headline = status["metrics"]["headline"]
    assert row[1:5] == ["Complete", "100%", headline["before"], headline["after"]]


def test_events_tell_the_story(finished: User) -> None:
    selector = f"involvedObject.name={NAME},involvedObject.kind=FineTuneJob"
    events = finished.get("events", "--field-selector", selector)["items"]
    uid = finished.get("ftj", NAME)["metadata"]["uid"]
    mine = [e["reason"] for e in events if e["involvedObject"]["uid"] == uid]
    assert {"Created", "Training", "Succeeded"} <= set(mine)
    assert len(mine) == len(set(mine))


def test_the_pod_is_restricted_and_has_no_token(finished: User) -> None:
    (pod,) = finished.pods(NAME)
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    mounts = {m["mountPath"] for m in container["volumeMounts"]}
    assert not any("serviceaccount" in path for path in mounts)


def test_every_file_has_the_manifests_digest(finished: User, model_folder: Path) -> None:
    raw = (model_folder / "manifest.json").read_bytes()
    model = finished.status(NAME)["model"]
    assert model["digest"] == "sha256:" + hashlib.sha256(raw).hexdigest()
    manifest = json.loads(raw)
    files: dict[str, Any] = manifest["files"]
    present = {str(p.relative_to(model_folder)) for p in model_folder.rglob("*") if p.is_file()}
    assert present == {*files, *manifest["reports"], "manifest.json"}
    for name, entry in files.items():
        content = (model_folder / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], name
    verify(model_folder)


def test_plain_sentence_transformers_computes_the_same(finished: User, model_folder: Path) -> None:
    """The metric of the status, from the files in S3, with no line of embedtune's."""
    model = SentenceTransformer(str(model_folder), device="cpu")
    sides = []
    for path in (trec().test, trec().train):
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        vectors = model.encode([row["text"] for row in rows], batch_size=64)
        sides.append((vectors, np.array([row["label"] for row in rows])))
    (queries, query_labels), (index, index_labels) = sides
    nearest = index_labels[np.argmax(queries @ index.T, axis=1)]
    found = float(np.mean(nearest == query_labels))
    said = float(finished.status(NAME)["metrics"]["after"]["precision_at_1"])
    assert found == pytest.approx(said, abs=0.002)
