"""embedtune's text-image training beside plain projections of frozen features, on openclipart.

The plain side is what one writes in an afternoon: MiniLM's embeddings by sentence-transformers,
MobileNetV2's pooled features by torchvision (its own preprocessing, 224 pixels), a linear layer
each into 256 dimensions, trained with CLIP's loss. Embedtune's side is examples/openclipart.yaml,
run as it stands. Both are asked for the pictures of the 300 held-out titles, and one code, checked
against a naive loop, judges both. Before training, embedtune's towers must give the plain side's
features. `--apart` says which pictures are held out, see localassets.openclipart; each way has a
section of its own in the result, and the other keeps what was written.
"""

import argparse
import logging
import os
import platform
import tempfile
from pathlib import Path
from threading import Event
from typing import get_args

import numpy as np
import sections
import torch
import torchvision
from images import on_white
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

import localassets
from embedtune_api.contract import TrainResult
from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Dataset, Encoder
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.jobfile import read_job, with_s3_root
from embedtune_trainer.progress import LogReporter
from embedtune_trainer.rows.read import Wanted, read_rows
from embedtune_trainer.rows.table import PairRows
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from localassets.catalogue import named_in, place
from localassets.clipart import Apart
from localassets.tables import Split

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/openclipart.yaml"
DATA = "datasets/openclipart"
RESULT = ROOT / "bench/results/openclipart.md"
HEAD = (
    "# openclipart\n\nSeries: no picture of a held-out picture's series is in training. Title: none"
    " of the same title is.\n"
)
CUTOFFS = (1, 5, 10)
DIM, RATE, EPOCHS, BATCH = 256, 1e-3, 60, 128
CHUNK = 64


def recalls(queries_ND: Tensor, index_ND: Tensor) -> list[float]:
    """R@1, 5, 10 where the n-th query's one relevant item is the n-th; equal scores count worse."""
    scores_NN = normalize(queries_ND, dim=1) @ normalize(index_ND, dim=1).T
    own_N1 = scores_NN.diagonal()[:, None]
    ranks_N = (scores_NN >= own_N1).sum(1)
    return [float((ranks_N <= k).double().mean()) for k in CUTOFFS]


def check_recalls() -> None:
    """`recalls` against sorting, query by query."""
    generator = torch.Generator().manual_seed(0)
    queries, index = (torch.randn(40, 8, generator=generator) for _ in range(2))
    index += queries
    found = []
    for i, query in enumerate(normalize(queries, dim=1)):
        scores = [-float(query @ other) for other in normalize(index, dim=1)]
        found.append(sorted(range(40), key=scores.__getitem__).index(i))
    naive = [float(np.mean([place < k for place in found])) for k in CUTOFFS]
    if naive != recalls(queries, index):
        raise AssertionError(f"recalls {recalls(queries, index)}, a loop finds {naive}")


def frozen_features(rows: PairRows) -> tuple[Tensor, Tensor]:
    """(N, 384) and (N, 1280), by the libraries alone; pictures on white."""
    texts = SentenceTransformer(str(localassets.minilm()), device="cpu")
    text_ND = torch.from_numpy(texts.encode(list(rows.left.values)))
    network = torchvision.models.mobilenet_v2()
    network.load_state_dict(torch.load(localassets.mobilenet_v2(), weights_only=True))
    network.classifier = nn.Identity()
    network.eval()
    prepare = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    image_ND = []
    with torch.inference_mode():
        for begin in range(0, len(rows), CHUNK):
            paths = rows.right.values[begin : begin + CHUNK]
            image_ND.append(network(torch.stack([prepare(on_white(str(path))) for path in paths])))
    return text_ND, torch.cat(image_ND).clone()


def check_same_features(rows: PairRows, features: tuple[Tensor, Tensor]) -> None:
    """Embedtune's encoders, before any training, give the libraries' features."""
    minilm, weights = localassets.minilm(), localassets.mobilenet_v2()
    text = load_encoder(Fetched("", minilm), Encoder(backbone=f"file://{minilm}"), 0)
    mobilenet = Encoder(
        backbone="torchvision://mobilenet_v2", weights=f"file://{weights}", normalize=False
    )
    image = load_encoder(Fetched("", None, weights), mobilenet, 0)
    for embedder, items, theirs in (
        (text, rows.left, features[0]),
        (image, rows.right, features[1]),
    ):
        ours = embedder.encode(items.take(range(32)))
        apart = float(1 - torch.cosine_similarity(ours, theirs[:32]).min())
        if apart > 1e-3:
            raise AssertionError(f"before training, {items.modality} features differ by {apart}")


def plain(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int) -> list[float]:
    """Two linear layers on frozen features, CLIP's loss, AdamW; text to image."""
    torch.manual_seed(seed)
    layers = nn.ModuleList(nn.Linear(side.shape[1], DIM) for side in train)
    log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
    optimizer = torch.optim.AdamW([*layers.parameters(), log_scale], lr=RATE)
    units = [normalize(side, dim=1) for side in train]
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(units[0])).split(BATCH):
            text, image = (
                normalize(layer(side[batch]), dim=1)
                for layer, side in zip(layers, units, strict=True)
            )
            logits = log_scale.exp() * text @ image.T
            own = torch.arange(len(batch))
            loss = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        sides = [layer(normalize(x, dim=1)) for layer, x in zip(layers, test, strict=True)]
        return recalls(*sides)


def main() -> None:
    """Run both and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apart", choices=get_args(Apart), default="series")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--plain", action="store_true", help="without embedtune; writes nothing")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    check_recalls()
    paths = localassets.openclipart(apart=options.apart)
    rows = [pairs(path) for path in (paths.train, paths.test)]
    of_train, of_test = map(frozen_features, rows)
    check_same_features(rows[1], of_test)
    lines = ["| system | seed | R@1 | R@5 | R@10 |", "|---|---|---|---|---|"]
    lines += [row("plain projections", s, plain(of_train, of_test, s)) for s in options.seeds]
    if options.plain:
        print("\n".join(lines))
        return
    for seed in options.seeds:
        result = embedtune(seed, paths)
        assert result.metrics is not None
        found = [float(result.metrics.after[f"recall_at_{k}"]) for k in CUTOFFS]
        lines.append(row("embedtune", seed, found))
    text = (
        f"## {options.apart}\n\n{len(rows[0])} pairs, {len(rows[1])} titles searched with.\n\n"
        + "\n".join(lines)
        + f"\n\nCommand: `PYTHONPATH=local python bench/openclipart.py --apart {options.apart}"
        f" --seeds {' '.join(map(str, options.seeds))}` on {platform.platform()},"
        f" {os.cpu_count()} cores; torch {torch.__version__}. embedtune trained for"
        f" {result.train_seconds:.0f} s.\n"
    )
    sections.write(RESULT, HEAD, {**sections.read(RESULT), options.apart: text}, get_args(Apart))
    print(text)


def embedtune(seed: int, data: Split) -> TrainResult:
    """The example's job as it stands, but for seed and data, by the code that a pod runs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for key in named_in(EXAMPLE):
            place(key, folder / "s3")
        link = folder / "s3" / DATA
        link.unlink()
        link.symlink_to(data.train.parent)
        spec = with_s3_root(read_job(EXAMPLE), folder / "s3").trainer_input()
        spec["spec"]["training"]["seed"] = seed
        job = FineTuneJob.parse(spec)
        store = open_storage(job.spec.storage, Event(), RetryPolicy())
        return run(job, store, folder / "work", LogReporter(), lambda: False)


def pairs(path: Path) -> PairRows:
    """Titles with pictures."""
    rows = read_rows(path, Dataset(uri=f"file://{path}"), Wanted("text", "image"))
    assert isinstance(rows, PairRows)
    return rows


def row(system: str, seed: int, found: list[float]) -> str:
    """One line of the table."""
    return f"| {system} | {seed} | " + " | ".join(f"{value:.3f}" for value in found) + " |"


if __name__ == "__main__":
    main()
