"""A projection's layers, and that a saved one embeds the same in plain sentence-transformers."""

import itertools

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtune_api.spec import Encoder, Projection
from embedtune_trainer.embedder.layers import (
    ACTIVATIONS,
    Dense,
    Normalize,
    new_projection,
    saved_layers,
)
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.rows.table import Texts

TEXTS = ["the cat", "a big OLD dog one this that", "red", "new nice axe in paris, the", "saw"]
SHAPES = list(itertools.product(ACTIVATIONS, ("none", "batch", "layer")))


def projection(**given):
    return Projection.parse({"dim": 6, "hidden": [16, 8], "dropout": 0.3, **given})


def trained(layers):
    """Layers as they are after a training: nothing is at its first value."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(*layers).train()
    for _ in range(3):
        model(torch.randn(20, 12) * 3 + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.eval()


@pytest.mark.parametrize(("activation", "norm"), SHAPES)
def test_the_saved_layers_are_the_same_map(activation, norm):
    model = trained(new_projection(12, projection(activation=activation, norm=norm), seed=0))
    x = torch.randn(30, 12)
    saved = torch.nn.Sequential(*saved_layers(list(model)))
    assert (saved(x) - model(x)).abs().max() < 1e-5


def test_layers_stand_in_the_order_that_the_spec_gives():
    hidden = new_projection(12, projection(norm="layer", activation="tanh"), seed=0)[0]
    x = torch.randn(4, 12)
    expected = torch.tanh(hidden.norm(x @ hidden.linear.weight.T + hidden.linear.bias))
    assert torch.allclose(hidden.eval()(x), expected, atol=1e-6)
    assert not torch.allclose(hidden.train()(x), expected, atol=1e-6)  # dropout


def test_the_seed_says_all():
    one, same, other = (new_projection(12, projection(), seed) for seed in (1, 1, 2))
    for layer in range(3):
        assert torch.equal(one[layer].linear.weight, same[layer].linear.weight)
        assert not torch.equal(one[layer].linear.weight, other[layer].linear.weight)


def test_without_hidden_layers_it_is_one_linear_layer():
    layers = new_projection(12, Projection(dim=4), seed=0)
    assert [type(layer) for layer in layers] == [Dense]
    weight = layers[0].linear.weight
    assert torch.allclose(weight @ weight.T, torch.eye(4), atol=1e-6)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_a_text_encoder_with_one_embeds_the_same_in_sentence_transformers(
    tiny_backbone, tmp_path, norm
):
    encoder = Encoder.parse(
        {
            "backbone": "s3://bases/tiny",
            "projection": {"dim": 6, "hidden": [16], "norm": norm, "dropout": 0.2},
        }
    )
    embedder = load_encoder(Fetched("s3://bases/tiny", tiny_backbone), encoder, seed=0)
    embedder.train()
    for _ in range(3):
        inputs = embedder.processor.batch(
            embedder.processor.table(Texts(TEXTS)), torch.arange(5).numpy(), embedder.device
        )
        embedder(inputs)
    embedder.eval().save(tmp_path / "saved")
    ours = embedder.encode(Texts(TEXTS))
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(
        TEXTS, show_progress_bar=False
    )
    assert (torch.from_numpy(theirs) - ours).abs().max() < 1e-5
    plain = Encoder(backbone="s3://bases/tiny")
    again = load_encoder(Fetched("s3://bases/tiny", tmp_path / "saved"), plain, seed=0)
    assert (again.encode(Texts(TEXTS)) - ours).abs().max() < 1e-5
    assert isinstance(again.layers[-1], Normalize)
