"""Nothing that a model's folder brings is run."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.sources.fetch import Fetched


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def folder(tiny_backbone, tmp_path):
    return shutil.copytree(tiny_backbone, tmp_path / "tiny")


def load(folder):
    encoder = Encoder.parse({"backbone": "hf://org/name"})
    return load_encoder(Fetched("hf://org/name", folder), encoder, seed=0)


@pytest.mark.parametrize("write", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_a_pickle_that_would_run_code_is_refused(folder, tmp_path, write):
    made = tmp_path / "made"
    (folder / "model.safetensors").unlink()
    write({"embeddings.word_embeddings.weight": Touch(made)}, folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match=r"which is code and is never run.*safetensors"):
        load(folder)
    assert not made.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False) if write is torch.save else (
        pickle.loads((folder / "pytorch_model.bin").read_bytes())
    )
    assert made.exists()  # so it would have been


def test_a_pickle_in_a_module_is_refused(tiny_backbone, tmp_path):
    encoder = Encoder.parse({"backbone": "hf://org/name", "projection": {"dim": 8}})
    load_encoder(Fetched("", tiny_backbone), encoder, 0).save(tmp_path / "saved")
    dense = tmp_path / "saved/2_Dense"
    (dense / "model.safetensors").unlink()
    torch.save({"linear.weight": Touch(tmp_path / "made")}, dense / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match="without running code"):
        load(tmp_path / "saved")
    assert not (tmp_path / "made").exists()


def test_pickled_tensors_are_read(folder, tiny_backbone):
    weights = load(tiny_backbone).backbone.network.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    for name, tensor in load(folder).backbone.network.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_a_folders_own_code_is_not_run(folder, tmp_path):
    """Not even beside a model type that transformers knows, whose network may be another."""
    (folder / "own.py").write_text(f"open({str(tmp_path / 'made')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": own}))
    with pytest.raises(UnsupportedModel, match=r"brings its own code .auto_map., which is never"):
        load(folder)
    assert not (tmp_path / "made").exists()
