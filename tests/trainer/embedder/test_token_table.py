"""The tokens of many texts: in memory or in a mapped file, they are the same."""

import numpy as np
import torch

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.rows.columns import growing
from embedtune_trainer.rows.columns.blobs import PackedTexts
from embedtune_trainer.rows.table import Texts

WORDS = ("cat", "dog", "bird", "fish", "tree")


def test_tokens_in_a_file_are_those_in_memory(tiny_backbone, tmp_path, monkeypatch):
    chance = np.random.default_rng(0)
    texts = [" ".join(chance.choice(WORDS, chance.integers(1, 9))) for _ in range(9000)]
    uri = tiny_backbone.as_uri()
    processor = load_encoder(Fetched(uri, tiny_backbone), Encoder(backbone=uri), 0).processor
    here = processor.table(Texts(texts))
    monkeypatch.setattr(growing, "IN_MEMORY_BYTES", 1000)
    there = processor.table(Texts(PackedTexts.of(texts, tmp_path)))
    assert np.array_equal(here.ids, there.ids)
    assert np.array_equal(here.offsets, there.offsets)
    assert (len(there), here.full) == (9000, there.full)
    cpu = torch.device("cpu")
    some = chance.integers(0, 9000, 50)
    assert torch.equal(
        processor.batch(here, some, cpu).ids_BT, processor.batch(there, some, cpu).ids_BT
    )
    assert list(tmp_path.iterdir()) == []  # the file has no name
