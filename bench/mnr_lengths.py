"""MultipleNegativesRankingLoss over texts of very different lengths, beside sentence-transformers.

Pairs of texts of random words, their lengths in tokens drawn from a log-normal distribution. The
peer is sentence-transformers' own trainer at its defaults; with its loss that caches gradients,
which takes less memory; and with what its users write themselves for speed, a batch sampler that
puts pairs of like length together. That changes which texts are each other's negatives, which
embedtune does not. (transformers' argument group_by_length is read nowhere by that trainer.) Where
the machine has bfloat16, all of the peer's train in it but, on a CPU, those at its defaults. With
--micro-batch all cache gradients.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import OURS, Contest, parser, request, run
from contestant import System, training_flops
from datasets import Dataset as HfDataset
from ours import Ours, in_bfloat16
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from theirs import NAME as DEFAULTS
from theirs import Theirs
from torch import nn
from torch.utils.data import BatchSampler
from transformers import AutoConfig, BertConfig, BertModel, BertTokenizer

import localassets
from embedtune_api.spec import Encoder, Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.rows.table import PairRows, Texts

SPREAD, RATE, SEED = 0.7, 2e-5, 0
HALF = "sentence-transformers, bf16"
CACHED = "sentence-transformers, gradients cached"
CACHED_BATCH = 32
"""CachedMultipleNegativesRankingLoss' own default."""
SORTED = "sentence-transformers, own sampler of like lengths"
Pairs = tuple[list[str], list[str]]


@cache
def texts(count: int, median: int, longest: int, folder: Path) -> Pairs:
    """Anchors and positives; a text's words are one token each, and two tokens frame it."""
    vocabulary = BertTokenizer.from_pretrained(folder).get_vocab()
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha())
    rng = np.random.default_rng(SEED)
    sides = []
    for _ in range(2):
        lengths = rng.lognormal(np.log(median), SPREAD, count).round().clip(3, longest) - 2
        sides.append([" ".join(rng.choice(words, int(n))) for n in lengths])
    return sides[0], sides[1]


@cache
def backbone(name: str, scratch: Path) -> Path:
    """MiniLM, or BERT-base's architecture with random weights and MiniLM's words."""
    if name == "minilm":
        return localassets.minilm()
    folder = scratch / name
    torch.manual_seed(SEED)
    BertModel(BertConfig()).save_pretrained(folder)
    BertTokenizer.from_pretrained(localassets.minilm()).save_pretrained(folder)
    return folder


class LikeLengths(BatchSampler):
    """Batches of pairs of like length in random order, as transformers groups by length."""

    def __init__(self, dataset: HfDataset, batch_size: int, drop_last: bool, **_: object) -> None:
        lengths = [max(len(a), len(p)) for a, p in zip(*dataset[:].values(), strict=True)]
        order = np.argsort(lengths, kind="stable")
        full = len(order) - len(order) % batch_size if drop_last else len(order)
        self._batches = [order[i : i + batch_size].tolist() for i in range(0, full, batch_size)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng(SEED)
        yield from (self._batches[i] for i in rng.permutation(len(self)))


def theirs(
    folder: Path,
    pairs: Pairs,
    batch: int,
    device: str,
    micro: int | None,
    **arguments: Any,  # noqa: ANN401  the peer's own
) -> System:
    """The peer, with some arguments of its own."""
    model = SentenceTransformer(str(folder), device=device)
    data = HfDataset.from_dict({"anchor": pairs[0], "positive": pairs[1]})
    loss: nn.Module = MultipleNegativesRankingLoss(model)
    if micro is not None:
        loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=micro)
    return Theirs(model, data, loss, training_of(batch), **arguments)


def row_flops(folder: Path, pairs: Pairs) -> float:
    """Of a pair, on average: those of a text are a polynomial of degree 2 of its tokens."""
    with torch.device("meta"):
        network = BertModel(AutoConfig.from_pretrained(folder), add_pooling_layer=False).eval()
    tokens = [16, 64, 256]
    found = [
        training_flops(partial(network, torch.zeros(1, n, dtype=torch.long, device="meta")))
        for n in tokens
    ]
    lengths = [1 + text.count(" ") + 2 for side in pairs for text in side]
    return 2 * float(np.polyval(np.polyfit(tokens, found, 2), lengths).mean())


def training_of(batch: int, micro: int | None = None) -> Training:
    """One epoch."""
    return Training(epochs=1, batch_size=batch, micro_batch=micro, learning_rate=RATE, seed=SEED)


def ours(folder: Path, pairs: Pairs, batch: int, device: str, micro: int | None) -> System:
    """Our side, at its defaults."""
    embedder = load_encoder(Fetched("", folder), Encoder(backbone=f"file://{folder}"), SEED)
    training = training_of(batch, micro)
    rows = PairRows(Texts(pairs[0]), Texts(pairs[1]), "bench")
    objective = Objective(loss="MultipleNegativesRankingLoss")
    return Ours(Encoders.single(embedder.to(device)), rows, objective, training)


def main(arguments: Sequence[str]) -> int:
    """Run the comparison and write it down."""
    parse = parser(__doc__, steps=6)
    parse.add_argument("--backbone", choices=("minilm", "bert-base"), default="minilm")
    parse.add_argument("--batch", type=int, default=128)
    parse.add_argument("--median", type=int, default=30, help="tokens of a text")
    parse.add_argument("--micro-batch", type=int, help="of both, whose gradients are cached")
    asked = request(parse, arguments)
    options = asked.options
    with tempfile.TemporaryDirectory() as scratch:
        folder = backbone(options.backbone, Path(scratch))
        longest = 256 if options.backbone == "minilm" else 512
        pairs = texts(options.batch * options.steps, options.median, longest, folder)
        given = (folder, pairs, options.batch, options.device, options.micro_batch)
        systems: dict[str, Callable[[], System]] = {OURS: partial(ours, *given)}
        goals: dict[str, float] = {}
        their_best: dict[str, Any] = {}
        best_goal = 1.5 if options.device == "cuda" else 1.3
        if options.device == "cpu":
            systems[DEFAULTS] = partial(theirs, *given)
            goals[DEFAULTS] = 2.0
        if in_bfloat16(options.device):
            their_best["bf16"] = True
            systems[HALF] = partial(theirs, *given, **their_best)
            goals[HALF] = best_goal
        half = ", bf16" if their_best else ""
        systems[SORTED + half] = partial(theirs, *given, batch_sampler=LikeLengths, **their_best)
        goals[SORTED + half] = best_goal
        if options.micro_batch is None:
            systems[CACHED + half] = partial(theirs, *given[:-1], CACHED_BATCH, **their_best)
            goals[CACHED + half] = best_goal
        return run(
            Contest(
                request=asked,
                title=f"{options.backbone}, MultipleNegativesRankingLoss, batches of"
                f" {options.batch} pairs, log-normal lengths (median {options.median} tokens,"
                f" sigma {SPREAD:g})",
                systems=systems,
                checked=tuple(name for name in goals if SORTED not in name),
                goals=goals,
                notes=(
                    "An own sampler of like lengths chooses each batch's negatives by length;"
                    " the other rows have the same batches as a random order gives.",
                ),
                row_flops=row_flops(folder, pairs),
            )
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
