"""What is frozen takes maps a few at a time: the same embeddings and gradients, less memory."""

import copy

import pytest
import torch
from torch import nn

from embedtune_trainer.embedder import some_at_a_time
from embedtune_trainer.embedder.freeze import freeze, keep_frozen


class Block(nn.Sequential):
    """Convolution and batch normalisation; it notes how many maps it is given at a time."""

    def __init__(self, channels_in, channels):
        super().__init__(nn.Conv2d(channels_in, channels, 3), nn.BatchNorm2d(channels), nn.ReLU())
        self.seen = []

    def forward(self, x_BCHW):
        self.seen.append(len(x_BCHW))
        return super().forward(x_BCHW)


def network():
    torch.manual_seed(0)
    made = nn.Sequential(Block(3, 4), Block(4, 5), Block(5, 6), nn.AdaptiveAvgPool2d(1))
    for block in made[:3]:
        block[1].running_mean.normal_()
    return made


def step(made, x_BCHW):
    made.zero_grad()
    y = made(x_BCHW)
    y.square().sum().backward()
    return [y, *(p.grad for p in made.parameters() if p.grad is not None)]


@pytest.fixture
def frozen(monkeypatch):
    monkeypatch.setattr(some_at_a_time, "PIECE_BYTES", 4 * 3 * 3 * 9 * 9)
    made = network()
    made.train()
    paths = freeze(made, ["0", "1"])
    return made, paths


X_BCHW = torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def test_a_step_is_the_same(frozen):
    made, _ = frozen
    found = step(made, X_BCHW)
    assert [block.seen for block in made[:3]] == [[3, 3, 2], [3, 3, 2], [8]]
    plain = network().train()
    for block in plain[:2]:
        block.eval().requires_grad_(False)
    for one, other in zip(found, step(plain, X_BCHW), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert made.state_dict().keys() == plain.state_dict().keys()


def test_a_copy_computes_with_its_own_weights(frozen):
    made, paths = frozen
    other = copy.deepcopy(made)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    assert not made(X_BCHW).any()
    assert other(X_BCHW).any()
    keep_frozen(other, paths)
    assert other[0].seen == [3, 3, 2]


def test_what_is_trained_and_what_has_no_gradient_stay_whole(frozen):
    made, _ = frozen
    with torch.no_grad():
        made(X_BCHW)
    made.train()
    made(X_BCHW)
    assert [block.seen for block in made[:3]] == [[8, 8]] * 3


class Both(nn.Module):
    """A module with two outputs."""

    def forward(self, x_BCHW):
        return x_BCHW, len(x_BCHW)


class Second(nn.Module):
    def __init__(self):
        super().__init__()
        self.both = Both()

    def forward(self, x_BCHW):
        return self.both(x_BCHW)[1]


def test_a_module_with_other_outputs_is_given_the_batch_whole(monkeypatch):
    monkeypatch.setattr(some_at_a_time, "PIECE_BYTES", 1)
    made = Second().eval()
    freeze(made, ["both"])
    assert made(X_BCHW) == 8


def test_other_shapes_stay_whole(monkeypatch):
    """The batch may be elsewhere: PyTorch's transformers have it second by default."""
    monkeypatch.setattr(some_at_a_time, "PIECE_BYTES", 1)
    made = nn.Sequential(nn.TransformerEncoderLayer(4, 1, 8, dropout=0), nn.Identity()).eval()
    x_NBD = torch.randn(5, 3, 4)
    expected = made(x_NBD)
    freeze(made, ["0"])
    torch.testing.assert_close(made(x_NBD), expected)
