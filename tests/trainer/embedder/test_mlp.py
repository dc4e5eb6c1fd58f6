"""Vectors as data: a projection is all there is."""

import numpy as np
import pytest
import torch

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.embedder.reload import load_saved
from embedtune_trainer.errors import BadData, BadSpec
from embedtune_trainer.rows.table import Texts, Vectors
from embedtune_trainer.sources.fetch import Fetched

ROWS = Vectors(np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32))
HEAD = {"dim": 3, "hidden": [5], "activation": "tanh"}


def load(**spec):
    encoder = Encoder.parse({"backbone": "mlp://6", **spec})
    return load_encoder(Fetched("mlp://6"), encoder, 0)


def test_it_is_its_projection():
    embedder = load(projection=HEAD, normalize=False)
    hidden, last = embedder.layers
    x = torch.from_numpy(ROWS.values_ND)
    expected = last(torch.tanh(x @ hidden.linear.weight.T + hidden.linear.bias))
    assert torch.allclose(embedder.encode(ROWS, batch_size=3), expected, atol=1e-6)
    assert embedder.embedding_dim == 3
    assert embedder.processor.modality == "vector"


def test_saved_and_rebuilt_it_embeds_the_same(tmp_path):
    embedder = load(projection={**HEAD, "norm": "layer"})
    embedder.save(tmp_path / "saved")
    again = load_saved(tmp_path / "saved")
    assert (again.encode(ROWS) - embedder.encode(ROWS)).abs().max() < 1e-6
    assert again.embedding_dim == 3


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "spec.model.projection: is required with mlp://6"),
        ({"projection": HEAD, "pooling": "mean"}, "mean is not for a feature that is one vector"),
        ({"projection": HEAD, "freeze": ["backbone"]}, "spec.model.freeze: mlp:// has no backbone"),
        ({"projection": HEAD, "lora": {}}, "spec.model.lora: mlp:// has no backbone"),
    ],
)
def test_what_makes_no_sense_is_refused(spec, said):
    with pytest.raises(BadSpec, match=said):
        load(**spec)


def test_other_data_are_refused():
    embedder = load(projection=HEAD)
    with pytest.raises(BadData, match=r"have 2 numbers, but spec.model.backbone is mlp://6"):
        embedder.encode(Vectors(np.zeros((1, 2), np.float32)))
    with pytest.raises(TypeError, match="items that are text"):
        embedder.encode(Texts(["a"]))
