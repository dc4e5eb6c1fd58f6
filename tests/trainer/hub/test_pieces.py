"""SigLIP's tokenizer out of spiece.model alone gives what sentencepiece and transformers give."""

import json
import shutil

import numpy as np
import pytest
import torch

from embedtune_api.spec import Model
from embedtune_trainer.embedder.pair import load_pair
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.rows.table import Texts
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.hub import clips
from tests.trainer.hub.pieces_fixture import LENGTH, PLACE, TEXTS


@pytest.fixture
def folder(tmp_path):
    """A SigLIP whose tokenizer is a sentencepiece model."""
    found = clips.siglip(tmp_path / "hub", words=260)
    (found / "tokenizer.json").unlink()
    for name in ("spiece.model", "tokenizer_config.json"):
        shutil.copyfile(PLACE / name, found / name)
    return found


def load(folder):
    return load_pair(Fetched("hf://o/n", folder), Model.parse({"backbone": "hf://o/n"}), 0)


def test_the_same_tokens(folder, tmp_path):
    pair = load(folder)
    table = pair.text.processor.table(Texts(list(TEXTS)))
    ours = np.asarray(table.ids).reshape(-1, LENGTH).tolist()
    assert ours == json.loads((PLACE / "expected.json").read_text())
    pair.save(tmp_path / "saved")
    some = Texts(list(TEXTS))
    assert torch.equal(load(tmp_path / "saved").text.encode(some), pair.text.encode(some))


def test_what_is_no_such_model_is_said(folder):
    (folder / "spiece.model").write_bytes(b"\xff\xff no protocol buffer")
    with pytest.raises(UnsupportedModel, match=r"hub: the tokenizer cannot be loaded \(spiece.m"):
        load(folder)
