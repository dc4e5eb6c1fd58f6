"""A pod that comes after one that was lost says what that one would have said."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedtune_api.contract import MANIFEST, Failure, TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.status import Headline, Metrics
from embedtune_trainer.artifact import RESULT, ForPeople, stage
from embedtune_trainer.published import published_result
from embedtune_trainer.sources.storage import FileStore

METRICS = Metrics(
    headline=Headline(name="map", before="0.5000", after="0.7500"),
    before={"map": "0.5000"},
    after={"map": "0.7500"},
)
FAILURE = Failure(reason="NotImproved", message="map rose by 0.25, 0.5 is wanted")
SAID = TrainResult(metrics=METRICS, gated=False, failure=FAILURE, train_seconds=1.5)


class Tiny:
    embedding_dim = 3

    def save(self, folder: Path) -> None:
        (folder / "modules.json").write_text("[]")
        (folder / "model.safetensors").write_bytes(b"weights")


def job(folder: Path, uid: str = "1234", **spec: Any) -> FineTuneJob:
    return FineTuneJob.parse(
        {
            "apiVersion": "embedtune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "trec", "uid": uid},
            "spec": {
                "model": {"backbone": "s3://bases/mini"},
                "data": {"train": {"uri": "s3://data/train.csv"}},
                "output": {"uri": f"file://{folder}/out"},
                **spec,
            },
        }
    )


def publish(made_by: FineTuneJob, folder: Path) -> TrainResult:
    """As a run does; what it would say."""
    people = ForPeople(result=SAID)
    model = stage(Tiny(), folder / "model", made_by, METRICS, "CLIPLoss", {}, people)
    FileStore().publish(folder / "model", made_by.output_uri)
    return SAID.model_copy(update={"model": model})


def place(folder: Path) -> Path:
    return folder / "out/default/trec/1234"


def found(asked: FineTuneJob, folder: Path) -> TrainResult | None:
    """By a pod whose storage copies what it fetches, as S3 does."""
    return published_result(asked, Copying(), folder / "work")


class Copying(FileStore):
    def fetch_file(self, uri: str, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(super().fetch_file(uri, target).read_bytes())
        return target

    def sizes(self, uri: str) -> dict[str, int]:
        return super().sizes(uri) if Path(uri.removeprefix("file://")).exists() else {}


def test_what_was_published_is_said_again(tmp_path: Path) -> None:
    assert found(job(tmp_path), tmp_path) is None
    would_say = publish(job(tmp_path), tmp_path)
    assert found(job(tmp_path), tmp_path) == would_say
    assert would_say.model is not None
    manifest = (place(tmp_path) / MANIFEST).read_bytes()
    assert would_say.model.digest == "sha256:" + hashlib.sha256(manifest).hexdigest()


def test_what_decides_of_no_weight_may_have_changed(tmp_path: Path) -> None:
    would_say = publish(job(tmp_path), tmp_path)
    later = job(tmp_path, runPolicy={"backoffLimit": 9}, resources={"memory": "8Gi"})
    assert found(later, tmp_path) == would_say


@pytest.mark.parametrize(
    "spec",
    [
        {"training": {"epochs": 7}},
        {"objective": {"loss": "CLIPLoss"}},
        {"model": {"backbone": "s3://bases/mini", "normalize": False}},
        {"data": {"train": {"uri": "s3://data/other.csv"}}},
        {"output": {"formats": ["safetensors", "onnx"]}},
    ],
    ids=lambda spec: next(iter(spec)),
)
def test_another_spec_is_trained(spec: dict[str, Any], tmp_path: Path) -> None:
    publish(job(tmp_path), tmp_path)
    if "output" in spec:
        spec = {"output": spec["output"] | {"uri": f"file://{tmp_path}/out"}}
    assert found(job(tmp_path, **spec), tmp_path) is None


def test_a_job_of_no_cluster_is_run_each_time(tmp_path: Path) -> None:
    local = job(tmp_path, uid="local")
    publish(local, tmp_path)
    assert found(local, tmp_path) is None


def without_result(folder: Path) -> None:
    (folder / RESULT).unlink()


def without_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_half_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"wei")


def with_a_broken_result(folder: Path) -> None:
    (folder / RESULT).write_text("{")


def with_a_strange_training(folder: Path) -> None:
    (folder / "training.json").write_text("[]")


@pytest.mark.parametrize(
    "change",
    [
        without_result,
        without_manifest,
        without_weights,
        with_half_the_weights,
        with_a_broken_result,
        with_a_strange_training,
    ],
)
def test_what_is_not_whole_is_made_anew(change: Callable[[Path], None], tmp_path: Path) -> None:
    publish(job(tmp_path), tmp_path)
    change(place(tmp_path))
    assert found(job(tmp_path), tmp_path) is None


def test_checkpoints_that_are_left_are_removed(tmp_path: Path) -> None:
    would_say = publish(job(tmp_path), tmp_path)
    left = place(tmp_path) / "checkpoints/0000000012"
    left.mkdir(parents=True)
    (left / "checkpoint.json").write_text(json.dumps({}))
    assert found(job(tmp_path), tmp_path) == would_say
    assert not (place(tmp_path) / "checkpoints").exists()
