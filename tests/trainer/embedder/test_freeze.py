"""Freezing by globs: weights stay, modules stay in evaluation mode, mistakes are named."""

import pytest
import torch
from torch import nn

from embedtune_trainer.embedder.freeze import freeze, freeze_all_but, keep_frozen
from embedtune_trainer.errors import BadSpec


def network() -> nn.Module:
    def layer() -> nn.Module:
        return nn.ModuleDict({"linear": nn.Linear(2, 2), "drop": nn.Dropout()})

    encoder = nn.ModuleDict({"layer": nn.ModuleList([layer() for _ in range(12)])})
    return nn.ModuleDict(
        {"embeddings": nn.ModuleDict({"norm": nn.BatchNorm1d(2)}), "encoder": encoder}
    ).train()


def trained(model):
    return {name.rsplit(".", 1)[0] for name, p in model.named_parameters() if p.requires_grad}


def test_globs_take_everything_below():
    model = network()
    paths = freeze(model, ["embeddings", "encoder.layer.[0-3]"])
    assert paths == ("embeddings", *(f"encoder.layer.{i}" for i in range(4)))
    assert trained(model) == {f"encoder.layer.{i}.linear" for i in range(4, 12)}


def test_one_does_not_match_eleven():
    model = network()
    freeze(model, ["encoder.layer.1"])
    assert "encoder.layer.11.linear" in trained(model)
    assert "encoder.layer.1.linear" not in trained(model)


def test_frozen_modules_stay_in_evaluation_mode():
    model = network()
    paths = freeze(model, ["embeddings", "encoder.layer.0"])
    model.train()
    keep_frozen(model, paths)
    modes = {path: module.training for path, module in model.named_modules()}
    assert not modes["embeddings.norm"]
    assert not modes["encoder.layer.0.drop"]
    assert modes["encoder.layer.1.drop"]


def test_the_word_backbone():
    model = network()
    assert freeze(model, ["backbone", "embeddings"]) == ("",)
    assert trained(model) == set()


@pytest.mark.parametrize(
    ("glob", "near"),
    [("encoder.layers.0", "encoder.layer.0"), ("embedding", "embeddings"), ("norm", "embeddings")],
)
def test_no_match_names_what_is_near(glob, near):
    with pytest.raises(BadSpec) as caught:
        freeze(network(), [glob])
    assert f"spec.model.freeze: {glob!r} matches no module" in str(caught.value)
    assert near in str(caught.value)


def test_all_but_what_is_named():
    model = network()
    model.register_parameter("token", nn.Parameter(torch.zeros(1)))
    paths = freeze_all_but(model, ["encoder.layer.1[01]"])
    model.train()
    keep_frozen(model, paths)
    assert paths == ("embeddings", *(f"encoder.layer.{i}" for i in range(10)))
    assert trained(model) == {"encoder.layer.10.linear", "encoder.layer.11.linear"}
    assert not model.token.requires_grad
    assert not model.embeddings.norm.training
    assert model.encoder.layer[11].drop.training


def test_all_but_with_no_match():
    with pytest.raises(BadSpec, match=r"freezeAllBut: 'layer.1' matches no module .*near it: enc"):
        freeze_all_but(network(), ["layer.1"])
