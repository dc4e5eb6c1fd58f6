"""`embedtune run` with formats [safetensors, onnx]: both embed alike, each as its user loads it."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from embedtune_trainer.artifact import verify
from tests.trainer import tiny
from tests.trainer.test_run_local import TEXTS, embedtune, sentence_transformers_embeds

pytestmark = pytest.mark.slow


def onnx_embeds(folder: Path) -> np.ndarray:
    """As docs/onnx.md shows it: without torch, transformers or embedtune."""
    model = json.loads((folder / "onnx/onnx.json").read_text())["models"]["model"]
    session = onnxruntime.InferenceSession(folder / "onnx" / model["files"][0])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(model["preparation"]["max_length"])
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch([model["preparation"]["prompt"] + text for text in TEXTS])
    given = {
        "input_ids": [one.ids for one in encoded],
        "attention_mask": [one.attention_mask for one in encoded],
    }
    return np.asarray(session.run(None, given)[0])


def test_the_graph_embeds_as_the_weights(tiny_backbone: Path, tmp_path: Path) -> None:
    train = tiny.write_csv(tmp_path / "train.csv", tiny.rows())
    projection = {"dim": 16, "hidden": [24], "norm": "batch"}
    job = tiny.job(f"file://{tiny_backbone}", f"file://{train}", f"file://{tmp_path}/out")
    job["spec"]["model"]["projection"] = projection
    job["spec"]["output"]["formats"] = ["safetensors", "onnx"]
    embedtune("run", str(tiny.write_job(tmp_path / "job.yaml", job)))
    folder = tmp_path / "out/default/tiny/local"
    assert verify(folder).embedding_dim == 16
    weights, graph = sentence_transformers_embeds(folder), onnx_embeds(folder)
    np.testing.assert_allclose(graph, weights, atol=1e-4)
    assert np.abs(weights - weights[::-1]).max() > 0.1, "all texts embed alike"
