"""Runs on texts with images from end to end: a CLIP checkpoint, and two backbones made a pair."""

import csv
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image

from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.artifact import verify
from embedtune_trainer.progress import FanOut
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from tests.trainer import tiny
from tests.trainer.embedder import visionnets
from tests.trainer.hub import clips

COLOURS = ["red", "green", "blue", "yellow", "black", "white", "orange", "grey"]


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """48 plain pictures with a dot each, and texts that name the colour and the number."""
    with (tmp_path / "pairs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "text"))
        for i in range(48):
            picture = Image.new("RGB", (20, 20), COLOURS[i % 8])
            picture.putpixel((i % 20, i // 20), (90, 60, 30))
            picture.save(tmp_path / f"{i}.png")
            writer.writerow((f"{i}.png", f"the {COLOURS[i % 8]} one {i}"))
    return tmp_path / "pairs.csv"


def trained(model: dict[str, Any], data: Path, folder: Path) -> tuple[Any, Path]:
    job = FineTuneJob.parse(
        tiny.job(
            "",
            f"file://{data}",
            f"file://{folder}/out",
            model=model,
            training={"epochs": 1, "batchSize": 16, "learningRate": 1e-3},
        )
    )
    store = open_storage(StorageSpec(), Event(), RetryPolicy())
    result = run(job, store, folder / "work", FanOut(()), lambda: False)
    out = folder / "out/default/tiny/local"
    verify(out)
    return result, out


def test_a_clip_checkpoint(captions: Path, tmp_path: Path) -> None:
    base = clips.clip(tmp_path / "clip")
    result, out = trained({"backbone": f"file://{base}"}, captions, tmp_path)
    assert {"recall_at_1", "image_to_text_recall_at_1"} <= result.metrics.after.keys()
    assert result.metrics.headline.name == "ndcg_at_10"
    assert {"pair.json", "text", "image"} <= {path.name for path in out.iterdir()}
    again, _ = trained({"backbone": f"file://{out}"}, captions, tmp_path / "again")
    assert again.metrics.before == pytest.approx(result.metrics.after)


def test_two_backbones(captions: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    weights = visionnets.write_weights("torchvision://mobilenet_v3_small", tmp_path)
    towers = {
        "text": {"backbone": f"file://{tiny_backbone}", "projection": {"dim": 8}},
        "image": {
            "backbone": "torchvision://mobilenet_v3_small",
            "weights": f"file://{weights}",
            "imageSize": 32,
            "projection": {"dim": 8},
        },
    }
    result, out = trained(towers, captions, tmp_path)
    assert result.model.embedding_dim == 8
    assert (out / "text/modules.json").exists()
    assert (out / "image/embedtune.json").exists()
