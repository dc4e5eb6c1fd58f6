"""A saved model is loaded anew and compared, and graphs of it are written beside it.

What graphs of the several families of networks give is in test_graph.
"""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from embedtune_api.spec import Encoder, Model, Output
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import load_encoder, open_model
from embedtune_trainer.embedder.pair import load_pair
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.evaluation.measures import LabelSearch
from embedtune_trainer.export import finish as finishing
from embedtune_trainer.export.finish import Finished, Measured, rehearse
from embedtune_trainer.progress import LogReporter
from embedtune_trainer.rows.table import LabelledRows, PairRows, Texts
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer import tiny
from tests.trainer.embedder.visionnets import load, write_weights
from tests.trainer.hub import clips
from tests.trainer.hub.vision_families import images

pytestmark = pytest.mark.slow

GIVEN = tiny.rows(24)
ROWS = LabelledRows(Texts(t for t, _ in GIVEN), [label for _, label in GIVEN], "rows.csv")
PAIRS = PairRows(Texts(["a cat", "the big old dog that saw", "red"]), images(), "rows.csv")
HEADLINE = "ndcg_at_10"


def output(*precision):
    onnx = {"formats": ["safetensors", "onnx"], "onnx": {"precision": list(precision)}}
    return Output.parse({"uri": "file:///out", **(onnx if precision else {})})


def encoders_of(folder, **spec):
    encoder = Encoder.parse({"backbone": "hf://org/name", **spec})
    return Encoders.single(load_encoder(Fetched("hf://org/name", folder), encoder, seed=0))


def pair_of(folder):
    model = Model.parse({"backbone": "hf://org/clip"})
    return Encoders.pair(load_pair(Fetched("hf://org/clip", folder), model, 0))


def measured(encoders):
    measure = LabelSearch(ROWS, None, (1, 10), 64)
    return Measured(measure, HEADLINE, measure.run(encoders, lambda: False)[HEADLINE])


def saved(encoders, folder, *precision):
    """What onnx.json says."""
    tuned = Finished(encoders, output(*precision), ROWS, measured(encoders), LogReporter())
    assert tuned.embedding_dim == encoders.embedding_dim
    tuned.save(folder)
    return json.loads((folder / "onnx" / "onnx.json").read_text())


def test_all_precisions_are_there_with_what_they_lose(tiny_backbone, tmp_path):
    encoders = encoders_of(
        *(tiny_backbone,),
        lora={"rank": 2},
        pooling="gem",
        projection={"dim": 12, "hidden": [16], "norm": "batch"},
    )
    with torch.no_grad():
        for parameter in encoders.module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    encoders.module.eval()
    described = saved(encoders, tmp_path, "float32", "float16", "int8")
    told = described["precisions"]
    assert list(told) == ["float32", "float16", "int8"]
    before = measured(encoders).value
    for precision in ("float16", "int8"):
        assert told[precision]["metric"] == HEADLINE
        lost = float(told[precision]["value"]) - before
        assert float(told[precision]["change"]) == pytest.approx(lost, abs=2e-4)
    assert float(told["float32"]["largest_difference"]) < 1e-5
    assert 1e-5 < float(told["float16"]["largest_difference"]) < 0.02
    assert 1e-4 < float(told["int8"]["largest_difference"]) < 0.3
    size = {path.stem: path.stat().st_size for path in (tmp_path / "onnx").glob("*.onnx")}
    assert size["float16"] < 0.75 * size["float32"]

    (model,) = described["models"].values()
    assert model["preparation"] == {"max_length": 64, "prompt": "", "padding": "longest"}
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / model["files"][0])
    inputs = {name: given["shape"] for name, given in model["inputs"].items()}
    assert {i.name: i.shape for i in session.get_inputs()} == inputs
    assert {i.type for i in session.get_inputs()} == {"tensor(int64)"}
    assert {o.name: o.shape for o in session.get_outputs()} == {"embeddings": ["batch", 12]}
    embedder = encoders.left
    table = embedder.processor.table(ROWS.items)
    tokens = embedder.processor.batch(table, np.arange(24), torch.device("cpu"))
    given = {"input_ids": tokens.ids_BT.numpy(), "attention_mask": tokens.mask_BT.numpy()}
    assert np.abs(session.run(None, given)[0] - embedder.encode(ROWS.items).numpy()).max() < 1e-4


def test_the_same_model_gives_the_same_bytes_and_no_paths(tiny_backbone, tmp_path):
    for name in ("one", "two"):
        saved(encoders_of(tiny_backbone), tmp_path / name, "int8")
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "onnx").iterdir()}
        for name in ("one", "two")
    )
    assert one == two
    assert sorted(one) == ["int8.onnx", "onnx.json"]  # and not what it was made of
    assert b".py" not in one["int8.onnx"]


def test_a_pair_has_two_graphs_of_one_space(tmp_path):
    encoders = pair_of(clips.clip(tmp_path / "hub"))
    nothing = Measured(LabelSearch(ROWS, None, (1,), 1), "map", 0.0)
    folder = tmp_path / "model"
    Finished(encoders, output("float32"), PAIRS, nothing, LogReporter()).save(folder)
    described = json.loads((folder / "onnx" / "onnx.json").read_text())
    assert float(described["precisions"]["float32"]["largest_difference"]) < 1e-5
    assert {name: model["files"] for name, model in described["models"].items()} == {
        "text": ["text/float32.onnx"],
        "image": ["image/float32.onnx"],
    }
    assert all((folder / "onnx" / f"{name}/float32.onnx").exists() for name in ("text", "image"))
    pixels = described["models"]["image"]["inputs"]["pixel_values"]
    assert pixels == {"type": "float32", "shape": ["batch", 3, 32, 32]}


def test_a_saved_model_that_embeds_otherwise_is_refused(tiny_backbone, tmp_path):
    encoders, other = encoders_of(tiny_backbone), encoders_of(tiny_backbone)
    with torch.no_grad():
        other.left.backbone.network.embeddings.word_embeddings.weight.mul_(1.01)
    tuned = Finished(
        *(replace(encoders, write=other.write), output(), ROWS, measured(encoders), LogReporter())
    )
    with pytest.raises(UnsupportedModel, match=r"embeds otherwise than the trained one.*1e-05"):
        tuned.save(tmp_path / "model")
    replace(tuned, encoders=encoders).save(tmp_path / "right")
    assert not (tmp_path / "right" / "onnx").exists()


def test_a_graph_that_embeds_otherwise_is_refused(tiny_backbone, tmp_path, monkeypatch):
    encoders = encoders_of(tiny_backbone)
    write_graph = finishing.write_graph

    def of_another(_, inputs, path):
        changed = open_model(tmp_path)
        with torch.no_grad():
            changed.backbone.network.embeddings.word_embeddings.weight.mul_(1.1)
        write_graph(changed, inputs, path)

    monkeypatch.setattr(finishing, "write_graph", of_another)
    with pytest.raises(UnsupportedModel, match=r"BertModel embeds otherwise as a graph.*leave onn"):
        saved(encoders, tmp_path, "float32")


def test_before_the_training_it_is_known_what_cannot_be_exported(tmp_path, tiny_backbone):
    pair = pair_of(clips.siglip2(tmp_path / "hub"))
    rehearse(pair, output(), PAIRS)
    with pytest.raises(UnsupportedModel, match=r"spec\.output\.formats: onnx: Siglip2Vision"):
        rehearse(pair, output("float32"), PAIRS)
    encoders = encoders_of(tiny_backbone)
    encoders.module.train()
    rehearse(encoders, output("float32"), ROWS)
    assert encoders.left.layers.training


def test_int8_is_refused_where_it_changes_nothing(tmp_path):
    uri = "torchvision://mobilenet_v2"
    embedder = load(uri, write_weights(uri, tmp_path, 32), imageSize=32)
    rows = LabelledRows(images(), ["a", "b", "a"], "rows")
    with pytest.raises(BadSpec, match=r"spec\.output\.onnx\.precision: int8 is for matrix"):
        rehearse(Encoders.single(embedder), output("int8"), rows)
