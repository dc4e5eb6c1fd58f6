"""A tiny model and data that it can learn, for runs that take seconds."""

import csv
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CLASSES = {
    "animal": ["cat", "dog", "horse", "cow", "mouse", "bird", "fish", "wolf"],
    "city": ["paris", "london", "rome", "berlin", "madrid", "vienna", "oslo", "cairo"],
    "colour": ["red", "green", "blue", "yellow", "black", "white", "orange", "grey"],
    "tool": ["hammer", "saw", "drill", "wrench", "pliers", "knife", "axe", "shovel"],
}
FILLERS = ["the", "a", "one", "this", "that", "big", "small", "old", "new", "nice"]


def backbone(folder: Path) -> Path:
    """A BERT of two layers and 32 dimensions with random weights, as Hugging Face lays it out."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    words = [*FILLERS, *(word for words in CLASSES.values() for word in words)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def rows(count: int = 160, seed: int = 0) -> list[tuple[str, str]]:
    """Text and label: three words, one of which tells the class."""
    chance = random.Random(seed)
    found = []
    for i in range(count):
        label = sorted(CLASSES)[i % len(CLASSES)]
        filler = chance.sample(FILLERS, 2)
        found.append((f"{filler[0]} {filler[1]} {chance.choice(CLASSES[label])}", label))
    return found


def write_csv(path: Path, content: Iterable[tuple[str, ...]]) -> Path:
    """A CSV with the header text,label."""
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *content])
    return path


def job(base: str, train: str, output: str, **spec: Any) -> dict[str, Any]:
    """A FineTuneJob of a few seconds; `spec` replaces its parts."""
    return {
        "apiVersion": "embedtune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "tiny"},
        "spec": {
            "model": {"backbone": base},
            "data": {"train": {"uri": train}},
            "training": {"epochs": 2, "batchSize": 32, "learningRate": 1e-3},
            "output": {"uri": output},
            **spec,
        },
    }


def write_job(path: Path, content: dict[str, Any]) -> Path:
    """The job as the operator mounts it; `embedtune run` reads it as well."""
    path.write_text(json.dumps(content))
    return path
