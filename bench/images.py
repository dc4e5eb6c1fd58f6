"""Images a second, from files to normalised batches: embedtune beside torchvision's ImageFolder.

Both bring the same files to 224 x 224 pixels with the same resize, crop and normalisation, in
batches of 64 on the CPU: embedtune's ImageProcessor with as many threads as there are cores, one
batch ahead of the consumer, and torchvision's ImageFolder in torch's DataLoader with as many
processes. First the tensors of both are compared. Each goes through the data twice, since both
gain from it: embedtune has decoded small images once, the DataLoader has its processes running.
They take turns, so that a slow moment of the machine meets both.
"""

import argparse
import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from rates import Outcome, table
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import localassets
from embedtune_trainer.images.prefetch import prefetched
from embedtune_trainer.images.preprocessing import Preprocessing
from embedtune_trainer.images.processor import ImageProcessor
from embedtune_trainer.rows.table import Images

RESULT = Path(__file__).parent / "results" / "images.md"
HOW = Preprocessing((224, 224), 256, "bilinear")
BATCH = 64
CPU = torch.device("cpu")


def on_white(path: str) -> Image.Image:
    """What ImageFolder's own loader gives, but on white in place of whatever the alpha hides."""
    with Image.open(path) as image:
        if not image.has_transparency_data:
            return image.convert("RGB")
        rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def image_folder(root: Path) -> ImageFolder:
    """The peer's data set, with HOW said in torchvision's words."""
    transform = v2.Compose(
        [
            v2.Resize(256, v2.InterpolationMode.BILINEAR, antialias=True),
            v2.CenterCrop(224),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(HOW.mean, HOW.std),
        ]
    )
    return ImageFolder(str(root), transform, loader=on_white)


class Ours:
    """embedtune's batches in the order of the files."""

    def __init__(self, folder: ImageFolder, threads: int) -> None:
        paths = [Path(path) for path, _ in folder.samples]
        self._processor = ImageProcessor(HOW, workers=threads)
        self._table = self._processor.table(Images(list(paths), [str(path) for path in paths]))

    def __iter__(self) -> Iterator[Tensor]:
        indices = np.arange(len(self._table))
        todo = (indices[i : i + BATCH] for i in range(0, len(indices), BATCH))
        return prefetched(lambda part: self._processor.batch(self._table, part, CPU), todo)


class Theirs:
    """torch's batches in the order of the files; its processes go on from epoch to epoch."""

    def __init__(self, folder: ImageFolder, workers: int) -> None:
        self._loader = DataLoader(folder, BATCH, num_workers=workers, persistent_workers=True)

    def __iter__(self) -> Iterator[Tensor]:
        return (batch for batch, _ in self._loader)


def check_same(folder: ImageFolder, threads: int) -> float:
    """The largest difference of both's tensors over the first 512 images; fails above 1e-5."""
    ours = iter(Ours(folder, threads))
    theirs = iter(Theirs(folder, threads))
    largest = 0.0
    for _ in range(min(8, len(folder) // BATCH)):
        largest = max(largest, float((next(ours) - next(theirs)).abs().max()))
    if largest > 1e-5:
        raise AssertionError(f"the tensors of both differ by {largest}")
    return largest


def passes(data: str, system: str, batches: Iterable[Tensor]) -> Iterator[Outcome]:
    """Two epochs."""
    for epoch in (1, 2):
        begun = time.perf_counter()
        rows = sum(len(batch) for batch in batches)
        yield Outcome(data, system, epoch, rows, time.perf_counter() - begun)


def main() -> None:
    """Run the comparison and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folders = {
        "CIFAR-10, 32 x 32 PNG": image_folder(localassets.cifar10().test),
        "openclipart, up to 256 x 256 PNG": image_folder(localassets.openclipart().train.parent),
    }
    outcomes: list[Outcome] = []
    largest = 0.0
    for data, folder in folders.items():
        largest = max(largest, check_same(folder, options.threads))
        for turn in range(options.turns):
            systems: dict[str, type[Ours] | type[Theirs]] = {
                "embedtune": Ours,
                "ImageFolder + DataLoader": Theirs,
            }
            for name in sorted(systems, reverse=turn % 2 == 1):
                outcomes += passes(data, name, systems[name](folder, options.threads))
                print(*outcomes[-2:], sep="\n", flush=True)
    rates = table(outcomes, "images")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        f"# Images to batches of {BATCH} x 3 x 224 x 224\n\n{rates}\n\n"
        f"The median of {options.turns} turns, with the least and the greatest. Before, the tensors"
        f" of both were compared: they differ by {largest:.1e} at most. In its second epoch"
        " embedtune has the images decoded that fit into 256 MiB.\n\n"
        f"Command: `PYTHONPATH=local python bench/images.py --turns {options.turns}` on"
        f" {platform.platform()}, {os.cpu_count()} cores, {options.threads} threads or processes,"
        f" load {os.getloadavg()[1]:.1f}; Python {platform.python_version()},"
        f" torch {torch.__version__}, torchvision {torchvision.__version__},"
        f" Pillow {PIL.__version__}.\n"
    )


if __name__ == "__main__":
    main()
