"""A state comes back from JSON and tensors as it went in: types, bits and memory layout."""

import json
import math

import numpy as np
import pytest
import torch

from embedtune_trainer.checkpoints.tree import flatten, unflatten


def there_and_back(state):
    node, tensors = flatten(state)
    return unflatten(json.loads(json.dumps(node, allow_nan=False)), tensors)


def test_scalars_and_containers_keep_their_types():
    state = {"a": [1, 2.5, None, True, "x"], 0: (0.1, (1e-300,)), "empty": {}, "b/c": {"~": []}}
    assert there_and_back(state) == state
    assert isinstance(there_and_back(state)[0], tuple)
    assert there_and_back({"best": -math.inf, "nan": math.nan})["best"] == -math.inf


def test_tensors_and_arrays_keep_their_bits():
    state = {
        "bf16": torch.tensor([1.0, float("nan"), -0.0], dtype=torch.bfloat16),
        "scalar": torch.tensor(3.0, dtype=torch.float64),
        "flag": torch.tensor(True),
        "empty": torch.empty(0, 4),
        "rows": np.arange(6).reshape(2, 3),
    }
    back = there_and_back(state)
    for name in ("bf16", "scalar", "flag", "empty"):
        assert back[name].dtype == state[name].dtype
        assert back[name].shape == state[name].shape
    assert torch.equal(back["bf16"].view(torch.int16), state["bf16"].view(torch.int16))
    assert back["scalar"] == 3.0
    np.testing.assert_array_equal(back["rows"], state["rows"])
    assert back["rows"].dtype == np.int64


def test_names_cannot_collide():
    state = {"a/b": {"c": torch.zeros(1)}, "a": {"b": {"c": torch.ones(1)}}}
    back = there_and_back(state)
    assert (back["a/b"]["c"].item(), back["a"]["b"]["c"].item()) == (0.0, 1.0)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (8, 3, 1, 1), (4, 1, 3, 3)])
def test_a_memory_layout_is_kept(shape):
    tensor = torch.randn(shape).to(memory_format=torch.channels_last)
    back = there_and_back({"w": tensor})["w"]
    assert back.stride() == tensor.stride()
    assert torch.equal(back, tensor)
    expanded = torch.ones(3, 1).expand(3, 4)
    assert torch.equal(there_and_back([expanded])[0], expanded)


def test_the_copy_does_not_follow_the_training():
    weight, rows = torch.zeros(3), np.zeros(3, np.int64)
    node, tensors = flatten({"w": weight, "r": rows})
    weight += 1
    rows += 1
    back = unflatten(node, tensors)
    assert not back["w"].any()
    assert not back["r"].any()


def test_what_cannot_be_saved_is_named():
    with pytest.raises(TypeError, match=r"^a/0: a set cannot be part of a checkpoint"):
        flatten({"a": [{1}]})
    with pytest.raises(TypeError, match=r"the key 1\.5 is neither"):
        flatten({1.5: 1})
    with pytest.raises(ValueError, match="'pickle' is no kind of node"):
        unflatten({"pickle": "x"}, {})
