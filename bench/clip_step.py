"""CLIP's training beside open_clip's: the same network and weights, the same texts and pictures.

Titles and pictures of openclipart, or, where a batch needs more, WordNet's definitions and pictures
of random colours. The peer is open_clip's model, transform, tokenizer and loss in the loop of its
own training: AdamW, DataLoader with as many processes as cores, the temperature clamped; in float32
and, where the machine has bfloat16, autocast to that. With a micro-batch, what its accum_freq does:
features of all parts first, then each part once more with a gradient.
"""

import csv
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import OURS, Contest, parser, request, run
from contestant import Start, System, Trained, timed, training_flops
from images import on_white
from open_clip import ClipLoss, SimpleTokenizer
from open_clip.model import CLIP
from open_clip.push_to_hf_hub import save_for_hf
from open_clip.transform import PreprocessCfg, image_transform_v2
from ours import Ours, gradient_norm, in_bfloat16
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTokenizer

import localassets
from embedtune_api.spec import Dataset as DatasetSpec
from embedtune_api.spec import Model, Objective, Training
from embedtune_trainer.embedder.load import Fetched
from embedtune_trainer.embedder.pair import load_encoders
from embedtune_trainer.rows.read import Wanted, read_rows
from embedtune_trainer.rows.table import Images, PairRows, Texts

PEER = "open_clip"
HALF = "open_clip, bf16"
RATE, SEED = 1e-4, 0
CLIPART = 900
"""Different titles that openclipart's training rows have at least."""
_WORDS = {"context_length": 77, "vocab_size": 49408}
SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "embed_dim": 256,
        "vision_cfg": {"image_size": 64, "layers": 6, "width": 256, "patch_size": 8},
        "text_cfg": {**_WORDS, "width": 256, "heads": 4, "layers": 6},
    },
    "b32": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
        "text_cfg": {**_WORDS, "width": 512, "heads": 8, "layers": 12},
    },
}
Pairs = tuple[list[str], list[Path]]


@cache
def checkpoint(size: str, folder: Path) -> Path:
    """A random network of this size as open_clip saves it, with its own tokenizer."""
    torch.manual_seed(SEED)
    model: Any = CLIP(**SIZES[size])
    how = PreprocessCfg(size=SIZES[size]["vision_cfg"]["image_size"])
    model.visual.image_mean, model.visual.image_std = how.mean, how.std
    own = SimpleTokenizer()
    vocabulary = dict(own.encoder)
    for name in ("start", "end"):
        vocabulary[f"<|{name}oftext|>"] = vocabulary.pop(f"<{name}_of_text>")
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=list(own.bpe_ranks), model_max_length=77)
    save_for_hf(model, tokenizer, SIZES[size], folder / size, safe_serialization=True)
    return folder / size


def clipart(folder: Path) -> Pairs:
    """Different titles with different pictures, RGB."""
    source = localassets.openclipart().train
    rows = read_rows(source, DatasetSpec(uri=f"file://{source}"), Wanted("text", "image"))
    assert isinstance(rows, PairRows)
    known = dict(zip(rows.left.values, rows.right.values, strict=True))
    paths = [folder / f"{number}.png" for number in range(len(known))]
    for path, picture in zip(paths, known.values(), strict=True):
        on_white(str(picture)).save(path)
    return list(known), paths


def coloured(count: int, folder: Path) -> Pairs:
    """Different definitions with different pictures of 256 x 256 pixels."""
    with localassets.wordnet_pairs().train.open(newline="", encoding="utf-8") as stream:
        titles = list(dict.fromkeys(row["positive"] for row in csv.DictReader(stream)))[:count]
    paths = [folder / f"{number}.jpg" for number in range(count)]

    def write(number: int) -> None:
        colours = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((256, 256)).save(paths[number], quality=90)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, range(count)))
    if len(titles) < count:
        raise ValueError(f"{len(titles)} definitions, not {count}")
    return titles, paths


def pairs(count: int, folder: Path) -> Pairs:
    """So many titles, with pictures."""
    folder.mkdir()
    if count > CLIPART:
        return coloured(count, folder)
    titles, paths = clipart(folder)
    return titles[:count], paths[:count]


def row_flops(size: str, titles: Sequence[str]) -> float:
    """Of a pair, whose title is as long as the titles are on average."""
    with torch.device("meta"):
        model: Any = CLIP(**SIZES[size])
        side = SIZES[size]["vision_cfg"]["image_size"]
        image_13HW = torch.empty(1, 3, side, side)
        text_1T = torch.zeros(1, 77, dtype=torch.long)
    tokenize = SimpleTokenizer()
    share = float(np.mean([np.count_nonzero(tokenize([title])) for title in titles[:1000]])) / 77
    of_text = training_flops(lambda: model.encode_text(text_1T))
    return training_flops(lambda: model.encode_image(image_13HW)) + share * of_text


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """As open_clip's CsvDataset gives them."""

    def __init__(self, chosen: Pairs, transform: Any) -> None:  # noqa: ANN401  open_clip's
        self._chosen = chosen
        self._transform = transform
        self._tokenize = SimpleTokenizer()

    def __len__(self) -> int:
        return len(self._chosen[0])

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        titles, paths = self._chosen
        with Image.open(paths[item]) as image:
            return self._transform(image), self._tokenize([titles[item]])[0]


class Theirs:
    """A System: open_clip's loop."""

    def __init__(
        self,
        size: str,
        folder: Path,
        chosen: Pairs,
        batch: int,
        device: str,
        micro: int | None,
        *,
        half: bool = False,
    ) -> None:
        self._model: Any = CLIP(**SIZES[size])
        self._model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
        self._model.to(device)
        self._how = PreprocessCfg(size=SIZES[size]["vision_cfg"]["image_size"])
        self._chosen, self._batch, self._device, self._half = chosen, batch, device, half
        self._micro = micro or batch
        self._loss = ClipLoss()

    def first(self) -> Start:
        """Without a random crop."""
        rows = Rows(self._chosen, image_transform_v2(self._how, is_train=False))
        items = [rows[i] for i in range(self._batch)]
        images, texts = (torch.stack(side).to(self._device) for side in zip(*items, strict=True))
        loss = self._loss(*self._model.train()(images, texts))
        loss.backward()
        return Start(float(loss.detach()), gradient_norm(list(self._model.parameters())))

    def train(self, steps: int) -> Trained:
        """One epoch."""
        loader = DataLoader(
            Rows(self._chosen, image_transform_v2(self._how, is_train=True)),
            self._batch,
            shuffle=True,
            drop_last=True,
            num_workers=os.cpu_count() or 1,
            pin_memory=self._device == "cuda",
        )
        optimizer = torch.optim.AdamW(self._model.parameters(), RATE)
        self._model.train()
        rows, wait_s = 0, 0.0
        for (images, texts), waited_s in timed(loader):
            optimizer.zero_grad()
            self._backward(
                images.to(self._device, non_blocking=True),
                texts.to(self._device, non_blocking=True),
            )
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                self._model.logit_scale.clamp_(0, math.log(100))
            rows += len(images)
            wait_s += waited_s
        if rows != steps * self._batch:
            raise AssertionError(f"{rows} rows in {steps} steps")
        return Trained(rows, wait_s)

    def _backward(self, images: Tensor, texts: Tensor) -> None:
        parts = list(zip(images.split(self._micro), texts.split(self._micro), strict=True))
        half = torch.autocast(self._device, torch.bfloat16, enabled=self._half)
        if len(parts) == 1:
            with half:
                loss = self._loss(*self._model(images, texts))
            loss.backward()
            return
        with torch.no_grad(), half:
            kept = [self._model(*part)[:2] for part in parts]
        for number, part in enumerate(parts):
            with half:
                own = self._model(*part)
                sides = [
                    torch.cat([x[side] for x in [*kept[:number], own[:2], *kept[number + 1 :]]])
                    for side in range(2)
                ]
                loss = self._loss(*sides, own[2])
            loss.backward()


def ours(
    size: str,  # noqa: ARG001  as the peer's
    folder: Path,
    chosen: Pairs,
    batch: int,
    device: str,
    micro: int | None,
) -> System:
    """Our side, at its defaults."""
    uri = f"file://{folder}"
    encoders = load_encoders(Fetched(uri, folder), Model(backbone=uri), SEED)
    encoders.module.to(device)
    rows = PairRows(Texts(chosen[0]), Images(chosen[1], [p.name for p in chosen[1]]), "bench")
    training = Training(
        epochs=1, batch_size=batch, micro_batch=micro, learning_rate=RATE, seed=SEED
    )
    return Ours(encoders, rows, Objective(loss="CLIPLoss"), training)


def main(arguments: Sequence[str]) -> int:
    """Run the comparison and write it down."""
    parse = parser(__doc__, steps=6)
    parse.add_argument("--size", choices=SIZES, default="small")
    parse.add_argument("--batch", type=int, default=128)
    parse.add_argument("--micro-batch", type=int, help="of both")
    asked = request(parse, arguments)
    options = asked.options
    with tempfile.TemporaryDirectory() as scratch:
        folder = checkpoint(options.size, Path(scratch))
        chosen = pairs(options.batch * options.steps, Path(scratch) / "pictures")
        given = (
            *(options.size, folder, chosen, options.batch, options.device),
            options.micro_batch,
        )
        systems: dict[str, Callable[[], System]] = {
            OURS: partial(ours, *given),
            PEER: partial(Theirs, *given),
        }
        goals = {PEER: 1.2}
        if options.device == "cuda":
            del systems[PEER]
            goals = {HALF: 1.25}
        elif in_bfloat16(options.device):
            goals[HALF] = 1.2
        if HALF in goals:
            systems[HALF] = partial(Theirs, *given, half=True)
        return run(
            Contest(
                request=asked,
                title=f"CLIP ({options.size}), batches of {options.batch}",
                systems=systems,
                checked=tuple(goals),
                goals=goals,
                notes=(
                    "Open_clip pads every title to 77 tokens; embedtune to the longest of those"
                    " that are encoded together.",
                ),
                row_flops=row_flops(options.size, chosen[0]),
            )
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
