"""What encoding in parts that fit the cache is worth on a CPU: beside the same in whole batches.

Both sides are embedtune's own code, once with its parts and once with parts as large as 256 rows or
the batch, as before. Each pass is a process of its own, the sides take turns, and the embeddings
and gradients of both are compared before anything is written.
"""

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

import localassets
from embedtune_api.spec import Encoder
from embedtune_trainer import encoding
from embedtune_trainer.embedder import some_at_a_time
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.encoding import Column, Prepared
from embedtune_trainer.machine import prepare_process
from embedtune_trainer.rows.table import Images, Items, Texts
from embedtune_trainer.training.cached import statistics_held

RESULT = Path(__file__).parent / "results" / "parts.md"
PARTS, WHOLE = "in parts", "whole"
COUNT, BATCH, SIDE = 512, 128, 160
FROZEN = ("features.[0-9]", "features.1[0-3]")


def texts() -> Items:
    """Abstracts of papers."""
    with localassets.arxiv_pairs().train.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1 : COUNT + 1]
    return Texts([row[1] for row in rows])


def pictures(count: int) -> Items:
    """CIFAR-10's, which the backbone's processor makes larger."""
    paths = sorted(localassets.cifar10().train.rglob("*.png"))[:count]
    return Images(list(paths), [path.name for path in paths])


def mobilenet(frozen: Sequence[str] = ()) -> Embedder:
    """MobileNetV2."""
    encoder = Encoder(backbone="torchvision://mobilenet_v2", image_size=SIDE, freeze=tuple(frozen))
    return load_encoder(Fetched("", None, localassets.mobilenet_v2()), encoder, 0)


def encode(embedder: Embedder, items: Items) -> Callable[[], Tensor]:
    """Embeddings for a search or an evaluation."""
    prepared = Prepared(items)
    return lambda: prepared.encode(embedder, 256)


def step(embedder: Embedder, items: Items) -> Callable[[], Tensor]:
    """A batch's embeddings and their way back; the gradients of all weights that are trained."""
    column = Column.of(items, embedder)
    inputs = embedder.processor.batch(column.table, np.arange(len(items)), embedder.device)
    trained = [p for p in embedder.parameters() if p.requires_grad]

    def act() -> Tensor:
        embedder.train().zero_grad()
        with statistics_held(embedder):
            embedder(inputs)[:, 0].sum().backward()
        return torch.cat([p.grad.flatten() for p in trained if p.grad is not None])

    return act


CASES: dict[str, Callable[[], Callable[[], Tensor]]] = {
    f"MiniLM encodes {COUNT} abstracts": lambda: encode(
        load_encoder(
            Fetched("", localassets.minilm(), None),
            Encoder(backbone=localassets.minilm().as_uri()),
            0,
        ),
        texts(),
    ),
    f"MobileNetV2 encodes {COUNT} pictures of {SIDE} x {SIDE} pixels": lambda: encode(
        mobilenet(), pictures(COUNT)
    ),
    f"MobileNetV2, features.0 to 13 frozen, a batch of {BATCH} there and back": lambda: step(
        mobilenet(FROZEN), pictures(BATCH)
    ),
}


def measure(case: str, side: str, found: Path) -> dict[str, float]:
    """One pass in this process, after one to warm up; what it computed goes into the file."""
    if side == WHOLE:
        encoding.PART_BUDGET["cpu"] = sys.maxsize
        some_at_a_time.PIECE_BYTES = sys.maxsize  # type: ignore[misc]
    act = CASES[case]()
    act()
    begun = time.perf_counter()
    out = act()
    seconds = time.perf_counter() - begun
    np.save(found, out.detach().numpy())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"seconds": seconds, "peak_mb": peak_mb}


def apart(case: str, side: str, found: Path) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", case, side, str(found)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    outcome: dict[str, float] = json.loads(told.splitlines()[-1])
    return outcome


def compared(case: str, turns: int, scratch: Path) -> str:
    """The case's lines.

    Raises:
        AssertionError: the sides computed different things.
    """
    outcomes: dict[str, list[dict[str, float]]] = {WHOLE: [], PARTS: []}
    for turn in range(turns):
        for side in sorted(outcomes, reverse=turn % 2 == 1):
            outcomes[side].append(apart(case, side, scratch / f"{side}.npy"))
            print(case, side, outcomes[side][-1], flush=True)
    one, other = (np.load(scratch / f"{side}.npy") for side in outcomes)
    apart_by = float(np.abs(one - other).max() / np.abs(one).max())
    if apart_by > 1e-4:
        raise AssertionError(f"{case}: both sides differ by {apart_by:.1e} of the largest number")
    lines = [
        f"| {case} | {side} | {median(p['seconds'] for p in passes):.2f} |"
        f" {median(p['peak_mb'] for p in passes):,.0f} | {apart_by:.0e} |"
        for side, passes in outcomes.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """All cases, written down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("CASE", "SIDE", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        prepare_process(Path(scratch))
        if options.one:
            case, side, found = options.one
            print(json.dumps(measure(case, side, Path(found))))
            return
        lines = [compared(case, options.turns, Path(scratch)) for case in CASES]
    RESULT.write_text(
        "# Encoding in parts that fit the cache\n\n"
        "| what | how | seconds | peak MB of the process | difference |\n|---|---|---|---|---|\n"
        + "\n".join(lines)
        + f"\n\nMedians of {options.turns}, each in a process of its own after a pass to warm up."
        " The difference is the largest of embeddings or gradients, beside the largest number.\n\n"
        f"Command: `PYTHONPATH=local python bench/parts.py --turns {options.turns}` on"
        f" {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}; Python"
        f" {platform.python_version()}, torch {torch.__version__}.\n"
    )


if __name__ == "__main__":
    main()
