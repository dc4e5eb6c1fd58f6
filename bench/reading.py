"""Rows a second, from a CSV file to padded batches of tokens: embedtune beside `datasets` + ST.

Both read the same file, tell its labels apart, shuffle its rows in the same order, and make batches
of 64 with all-MiniLM-L6-v2's tokenizer: embedtune with read_rows (every cell checked), its token
table and a thread ahead; the peer as sentence-transformers' trainer does, with load_dataset("csv"),
class_encode_column, torch's DataLoader (none or two processes) and ST's data collator. It gets
keep_default_na=False, without which it makes None of texts such as null and nan, which WordNet has.
First the texts, the labels and the token numbers of all rows are compared. The first epoch begins
with the file and, for the peer, an empty cache; the second is what every further one costs. They
take turns, so that a slow moment of the machine meets both. Images: bench/images.py.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import sentence_transformers
import torch
from rates import Outcome, table
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.data_collator import BaseDataCollator
from torch.utils.data import DataLoader

import localassets
from embedtune_api.spec import Dataset, Encoder
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.embedder.processor import Processor
from embedtune_trainer.images.prefetch import prefetched
from embedtune_trainer.rows.read import Wanted, read_rows
from embedtune_trainer.rows.table import LabelledRows
from embedtune_trainer.sources.fetch import Fetched

RESULT = Path(__file__).parent / "results" / "reading.md"
BATCH = 64
CPU = torch.device("cpu")
SYSTEMS = {"embedtune": None, "datasets + ST": 0, "datasets + ST, 2 processes": 2}
"""Processes of torch's DataLoader, for the peer."""
Ids = list[torch.Tensor]
"""Token numbers of a batch, a column each."""


class Ours:
    """embedtune, from the file on."""

    def __init__(self, file: Path, processor: Processor) -> None:
        rows = read_rows(file, Dataset(uri=file.as_uri()), Wanted("text", "text"))
        sides = [rows.items] if isinstance(rows, LabelledRows) else [rows.left, rows.right]
        self.texts = [side.values for side in sides]
        self.labels = rows.labels if isinstance(rows, LabelledRows) else None
        self._processor = processor
        self._tables = [processor.table(side) for side in sides]
        self.rows = len(rows)

    def batches(self, order: list[int]) -> Iterator[Ids]:
        """One epoch."""
        indices = np.asarray(order)
        todo = (indices[i : i + BATCH] for i in range(0, len(indices), BATCH))
        return prefetched(
            lambda part: [self._processor.batch(t, part, CPU).ids_BT for t in self._tables], todo
        )


class Theirs:
    """datasets, DataLoader and sentence-transformers' collator, from the file on."""

    def __init__(self, file: Path, model: SentenceTransformer, workers: int, cache: str) -> None:
        loaded = datasets.load_dataset(
            "csv", data_files=str(file), cache_dir=cache, split="train", keep_default_na=False
        )
        self.sides = [name for name in loaded.column_names if name != "label"]
        self.texts = [loaded[name] for name in self.sides]
        self.labels = None
        if "label" in loaded.column_names:
            loaded = loaded.class_encode_column("label")
            names = loaded.features["label"].names
            self.labels = [names[number] for number in loaded["label"]]
        self._data = loaded
        self._collate = BaseDataCollator(preprocess_fn=model.preprocess)
        self._workers = workers
        self.rows = len(loaded)

    def batches(self, order: list[int]) -> Iterator[Ids]:
        """One epoch."""
        data: Any = self._data  # torch's DataLoader takes it, but its types do not
        loader = DataLoader(
            data, BATCH, sampler=order, num_workers=self._workers, collate_fn=self._collate
        )
        return ([batch[f"{name}_input_ids"] for name in self.sides] for batch in loader)


def check_same(file: Path, processor: Processor, model: SentenceTransformer) -> None:
    """Both hold the same texts and labels, and make the same batches of tokens of all rows."""
    with tempfile.TemporaryDirectory() as cache:
        ours, theirs = Ours(file, processor), Theirs(file, model, 0, cache)
        for mine, other in zip(ours.texts, theirs.texts, strict=True):
            if list(mine) != list(other):
                raise AssertionError(f"{file}: the texts differ")
        if ours.labels is not None and ours.labels != theirs.labels:
            raise AssertionError(f"{file}: the labels differ")
        order = list(range(ours.rows))
        for mine, other in zip(ours.batches(order), theirs.batches(order), strict=True):
            if not all(map(torch.equal, mine, other)):
                raise AssertionError(f"{file}: the tokens differ")


def _begin(
    file: Path, processor: Processor, model: SentenceTransformer, workers: int | None, cache: str
) -> Callable[[], Ours | Theirs]:
    if workers is None:
        return lambda: Ours(file, processor)
    return lambda: Theirs(file, model, workers, cache)


def passes(data: str, system: str, make: Callable[[], Ours | Theirs]) -> Iterator[Outcome]:
    """Two epochs, the first with the reading."""
    begun = time.perf_counter()
    made = make()
    for epoch in (1, 2):
        order = np.random.default_rng(epoch).permutation(made.rows).tolist()
        count = sum(len(batch[0]) for batch in made.batches(order))
        ended = time.perf_counter()
        yield Outcome(data, system, epoch, count, ended - begun)
        begun = ended


def main() -> None:
    """Run the comparison and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--data", nargs="*", default=["TREC", "movie reviews", "WordNet pairs"])
    options = parser.parse_args()
    datasets.disable_progress_bars()
    files = {
        "TREC": localassets.trec,
        "movie reviews": localassets.movie_reviews,
        "WordNet pairs": localassets.wordnet_pairs,
    }
    folder = localassets.minilm()
    uri = folder.as_uri()
    processor = load_encoder(Fetched(uri, folder), Encoder(backbone=uri), 0).processor
    model = SentenceTransformer(str(folder), device="cpu")
    outcomes: list[Outcome] = []
    for data in options.data:
        file = files[data]().train
        check_same(file, processor, model)
        for turn in range(options.turns):
            for system, workers in list(SYSTEMS.items())[:: (-1) ** turn]:
                with tempfile.TemporaryDirectory() as cache:
                    outcomes += passes(data, system, _begin(file, processor, model, workers, cache))
                print(*outcomes[-2:], sep="\n", flush=True)
    rates = table(outcomes, "rows")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        f"# CSV files to batches of {BATCH} padded texts\n\n{rates}\n\n"
        f"The median of {options.turns} turns, with the least and the greatest. The first epoch"
        " includes the reading of the file. Before, the texts, the labels and the token numbers of"
        " all rows were compared: they are equal.\n\n"
        f"Command: `PYTHONPATH=local python bench/reading.py --turns {options.turns}` on"
        f" {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}; Python"
        f" {platform.python_version()}, datasets {datasets.__version__}, sentence-transformers"
        f" {sentence_transformers.__version__}, torch {torch.__version__}.\n"
    )


if __name__ == "__main__":
    main()
