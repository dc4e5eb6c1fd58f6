"""Texts in one row: the same as padded, here on the CPU with torch's own attention for it."""

import copy

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from embedtune_trainer.embedder.packed import Packing, first_position, run_packed

LENGTHS = np.array([3, 17, 1, 8, 17])
SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
CONFIGS = {
    "bert": BertConfig(**SMALL),
    "electra": ElectraConfig(**SMALL, embedding_size=8),
    "roberta": RobertaConfig(**SMALL, pad_token_id=1),
    "xlm-roberta": XLMRobertaConfig(**SMALL, pad_token_id=1),
}


def batch(pad):
    mask_BT = np.arange(LENGTHS.max()) < LENGTHS[:, None]
    ids_BT = np.where(mask_BT, np.random.default_rng(0).integers(5, 50, mask_BT.shape), pad)
    return torch.from_numpy(ids_BT), mask_BT


@pytest.mark.parametrize("kind", CONFIGS)
def test_hidden_states_and_gradients_are_those_of_the_padded_batch(kind):
    torch.manual_seed(0)
    padded = AutoModel.from_config(CONFIGS[kind]).eval()
    packed = copy.deepcopy(padded)
    ids_BT, mask_BT = batch(CONFIGS[kind].pad_token_id)
    mask = torch.from_numpy(mask_BT)
    expected = padded(input_ids=ids_BT, attention_mask=mask.long()).last_hidden_state
    packing = Packing.of(mask_BT, LENGTHS)
    found = run_packed(packed, ids_BT, packing, first_position(packed))
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-5)
    assert not found[~mask].any()
    weight = torch.randn_like(expected) * mask[..., None]
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    gradients = dict(packed.named_parameters())
    for name, p in padded.named_parameters():
        if p.grad is not None and "pooler" not in name:
            torch.testing.assert_close(gradients[name].grad, p.grad, rtol=1e-4, atol=1e-5)


def test_the_network_pays_attention_as_before_afterwards():
    network = AutoModel.from_config(CONFIGS["bert"]).eval()
    before = network.config._attn_implementation
    ids_BT, mask_BT = batch(0)
    run_packed(network, ids_BT, Packing.of(mask_BT, LENGTHS), 0)
    assert network.config._attn_implementation == before


@pytest.mark.parametrize(
    "config",
    [
        DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32),
        BertConfig(**SMALL, is_decoder=True),
        RobertaConfig(**SMALL, pad_token_id=0),
    ],
    ids=["makes its own positions", "looks back only", "counts from elsewhere"],
)
def test_a_network_that_is_more_than_attention_is_left_padded(config):
    assert first_position(AutoModel.from_config(config)) is None
