"""Tiny trainings of three kinds of data, each with what makes its kind hard to take up again."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.trainer import tiny
from tests.trainer.hub import clips

COLOURS = ["red", "green", "blue", "yellow", "black", "white", "orange", "grey"]


def labelled(folder: Path) -> dict[str, Any]:
    """Classes of texts, a triplet loss, dropout, a new projection: 36 steps."""
    base = tiny.backbone(folder / "base")
    train = tiny.write_csv(folder / "train.csv", tiny.rows())
    return _job(
        folder,
        train,
        model={"backbone": f"file://{base}", "projection": {"dim": 16}},
        training={"epochs": 9, "batchSize": 32, "learningRate": 1e-3},
    )


def pairs(folder: Path) -> dict[str, Any]:
    """Pairs of texts, a ranking loss, hard negatives mined for each epoch: 36 steps."""
    base = tiny.backbone(folder / "base")
    words = [word for words in tiny.CLASSES.values() for word in words]
    rows = [
        (f"{tiny.FILLERS[i % 7]} {left}", f"{left} {right} {tiny.FILLERS[i % 5]}")
        for i, left in enumerate(words)
        for right in words[i % 4 :: 8]
    ]
    with (folder / "train.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("anchor", "positive"), *rows])
    return _job(
        folder,
        folder / "train.csv",
        model={"backbone": f"file://{base}"},
        training={"epochs": 9, "batchSize": 32, "learningRate": 1e-3},
        objective={"hardNegatives": {"perRow": 2, "among": 8}},
    )


def text_image(folder: Path) -> dict[str, Any]:
    """Captioned pictures, varied in each epoch, made ahead by another thread: 36 steps."""
    base = clips.clip(folder / "base")
    with (folder / "train.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "text"))
        for i in range(70):
            picture = Image.new("RGB", (20, 20), COLOURS[i % 8])
            picture.putpixel((i % 20, i // 20), (90, 60, 30))
            picture.save(folder / f"{i}.png")
            writer.writerow((f"{i}.png", f"the {COLOURS[i % 8]} one {i}"))
    return _job(
        folder,
        folder / "train.csv",
        model={"backbone": f"file://{base}"},
        training={"epochs": 9, "batchSize": 16, "learningRate": 1e-3, "augmentation": "auto"},
    )


KINDS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "labelled": labelled,
    "pairs": pairs,
    "text-image": text_image,
}


def prepared(kind: str, folder: Path) -> dict[str, Any]:
    """The job of a kind, its data and backbone written into an empty folder."""
    folder.mkdir(parents=True)
    return KINDS[kind](folder)


def put_out(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same job with another output."""
    return {**job, "spec": {**job["spec"], "output": {"uri": f"file://{folder}"}}}


def _job(folder: Path, train: Path, **spec: Any) -> dict[str, Any]:
    checkpoints = {"everySteps": 3, "keep": 2}
    return tiny.job(
        "",
        f"file://{train}",
        f"file://{folder}/out",
        runPolicy={"checkpoints": checkpoints},
        **spec,
    )
