"""SigLIP's loss against a naive loop and open_clip's, and where its temperature and bias lie."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from embedtune_trainer.objectives.kind import Known
from embedtune_trainer.objectives.siglip import SigLIPLoss
from embedtune_trainer.objectives.siglip_weights import SigLIPObjective
from embedtune_trainer.rows.table import PairRows, Texts
from tests.trainer.objectives.naive import F64, assert_same, cos, dense, in_blocks, vectors

PAIRS = PairRows(Texts(["a", "b", "c"]), Texts(["x", "x", "z"]), "p.csv")


def scalar(value):
    return torch.tensor(value, dtype=F64, requires_grad=True)


def naive(left, right, log_scale, bias, known):
    total = 0
    for i in range(len(left)):
        for j in range(len(right)):
            if i != j and known[i][j]:
                continue
            sign = 1 if i == j else -1
            logit = log_scale.exp() * cos(left[i], right[j]) + bias
            total += torch.log1p(torch.exp(-sign * logit))
    return total / len(left)


@pytest.mark.parametrize("numbers", [2**21, 1, 13])
def test_as_the_loop(monkeypatch, numbers):
    in_blocks(monkeypatch, numbers)
    left, right, log_scale, bias = vectors(6, 4), vectors(6, 4, seed=1), scalar(1.2), scalar(-2.0)
    known = torch.rand(6, 6, generator=torch.Generator().manual_seed(3)) < 0.3
    ours = SigLIPLoss()(left, right, log_scale, bias, dense(known)).loss
    assert_same(ours, naive(left, right, log_scale, bias, known), left, right, log_scale, bias)


def test_as_open_clip():
    from open_clip.loss import SigLipLoss

    text, image, log_scale, bias = vectors(6, 4), vectors(6, 4, seed=1), scalar(2.3), scalar(-10.0)
    ours = SigLIPLoss()(text, image, log_scale, bias).loss
    unit = [x / x.norm(dim=-1, keepdim=True) for x in (text, image)]
    theirs = SigLipLoss()(unit[1], unit[0], log_scale.exp(), bias)
    assert_same(ours, theirs, text, image, log_scale, bias)


def test_zero_vectors_have_no_gradient():
    left, right = torch.zeros(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    found = SigLIPLoss()(left, right, torch.tensor(2.3), torch.tensor(-10.0)).loss
    found.backward()
    assert found.isfinite()
    assert not left.grad.any()


def test_the_models_temperature_and_bias_are_used():
    log_scale, bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(-3.0))
    loss = SigLIPObjective(SigLIPLoss(), Known(PAIRS, 4, log_scale, bias))
    assert not list(loss.parameters())
    loss([torch.randn(3, 4), torch.randn(3, 4)], np.arange(3)).loss.backward()
    assert log_scale.grad != 0
    assert bias.grad != 0


def test_without_them_the_loss_has_its_own():
    loss = SigLIPObjective(SigLIPLoss(temperature=0.5), Known(PAIRS, 4))
    assert {n: round(p.item(), 5) for n, p in loss.named_parameters()} == {
        "own.log_scale": round(math.log(2), 5),
        "own.bias": -10.0,
    }
    fixed = SigLIPObjective(SigLIPLoss(learnable=False, bias=1.0), Known(PAIRS, 4))
    assert not any(p.requires_grad for p in fixed.parameters())
    assert fixed.own["bias"].item() == 1


def test_rows_that_share_an_item_are_no_negatives():
    loss = SigLIPObjective(SigLIPLoss(), Known(PAIRS, 2))
    left = torch.eye(2)[[0, 0, 1]].double()
    right = torch.eye(2)[[0, 0, 1]].double()
    found = loss([left, right], np.arange(3)).loss.item()
    own, other = math.log1p(math.exp(0)), math.log1p(math.exp(-10))
    assert found == pytest.approx((3 * own + 4 * other) / 3, abs=1e-6)
