"""Where bfloat16 is chosen: by what the device can, and what the network consists of."""

import pytest
import torch
from torch import nn

from embedtune_trainer import bfloat16
from embedtune_trainer.training.precision import autocast_for

CPU = torch.device("cpu")
DENSE = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 8))
DEPTHWISE = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))


def able(monkeypatch, **instructions):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)


@pytest.mark.parametrize("name", bfloat16.INSTRUCTIONS)
def test_a_processor_with_the_instructions_uses_them(name, monkeypatch):
    able(monkeypatch, **{name: True})
    assert bfloat16.pays_off(DENSE, CPU)
    assert not bfloat16.pays_off(DEPTHWISE, CPU), "grouped convolutions are slower"


def test_a_processor_without_them_does_not(monkeypatch):
    able(monkeypatch, avx512_bf16=False, avx2=True)
    assert not bfloat16.pays_off(DENSE, CPU)


@pytest.mark.parametrize(
    ("precision", "network", "expected"),
    [
        ("auto", DENSE, torch.bfloat16),
        ("auto", DEPTHWISE, torch.float32),
        ("float32", DENSE, torch.float32),
        ("bfloat16", DEPTHWISE, torch.bfloat16),
    ],
)
def test_each_encoder_runs_in_what_suits_it(precision, network, expected, monkeypatch):
    able(monkeypatch, avx512_bf16=True)
    with autocast_for(precision, CPU)(network):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == expected
