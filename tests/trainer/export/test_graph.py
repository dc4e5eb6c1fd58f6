"""Graphs of the families of networks embed as torch does, at batches of any size and length."""

from functools import partial

import numpy as np
import pytest
import torch

from embedtune_api.spec import Encoder, Model
from embedtune_trainer.embedder.load import load_encoder, open_model
from embedtune_trainer.embedder.mlp import load_mlp_encoder
from embedtune_trainer.embedder.pair import load_pair
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.export.graph import write_graph
from embedtune_trainer.export.session import OnnxEmbedder
from embedtune_trainer.rows.table import Texts, Vectors
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.embedder.visionnets import load, write_weights
from tests.trainer.hub import clips
from tests.trainer.hub.text_families import TEXT_FAMILIES
from tests.trainer.hub.vision_families import VISION_FAMILIES, images

pytestmark = pytest.mark.slow

TEXTS = Texts(["saw", "a big old dog one this that", "red", "the cat in paris " * 9])
BATCHES = ([0], [1], [3], [0, 2], [0, 1, 2], [2, 1, 0, 2, 1])
TEXT = {family.name: family for family in TEXT_FAMILIES}
VISION = {family.name: family for family in VISION_FAMILIES}


def text(name, folder, **spec):
    spec = {"projection": {"dim": 8, "hidden": [16]}, "maxSeqLength": 32, **spec}
    encoder = Encoder.parse({"backbone": "hf://org/name", **spec})
    return load_encoder(Fetched("hf://org/name", TEXT[name].save(folder)), encoder, 0), TEXTS


def vision(name, folder):
    return open_model(VISION[name].save(folder)), images()


def library(name, folder, **spec):
    weights = write_weights(name, folder, 32)
    return load(name, weights, imageSize=32, **spec), images()


def clip(side, folder, make=clips.clip):
    fetched = Fetched("hf://org/clip", make(folder))
    pair = load_pair(fetched, Model.parse({"backbone": "hf://org/clip"}), 0)
    return getattr(pair, side), TEXTS if side == "text" else images()


def vectors(_):
    encoder = Encoder.parse({"backbone": "mlp://6", "projection": {"dim": 4, "hidden": [5]}})
    items = Vectors(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32))
    return load_mlp_encoder(encoder, 0), items


NETWORKS = {
    "BERT last": partial(text, "BERT", pooling="last"),
    "MPNet mean": partial(text, "MPNet", pooling="mean"),
    "DistilBERT gem": partial(text, "DistilBERT", pooling="gem"),
    "ModernBERT cls": partial(text, "ModernBERT", pooling="cls"),
    "ViT": partial(vision, "ViT"),
    "ResNet gem": partial(library, "torchvision://resnet18", pooling="gem"),
    "MobileNetV2": partial(library, "torchvision://mobilenet_v2"),
    "CLIP text": partial(clip, "text"),
    "CLIP image": partial(clip, "image"),
    "SigLIP text": partial(clip, "text", make=clips.siglip),
    "AIMv2 text": partial(clip, "text", make=clips.aimv2),
    "vectors": vectors,
}


def batch(embedder, items, numbers):
    table = embedder.processor.table(items)
    return embedder.processor.batch(table, np.array(numbers), torch.device("cpu"))


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_a_graph_embeds_as_torch_does(make, tmp_path):
    embedder, items = make(tmp_path)
    embedder.eval()
    write_graph(embedder, batch(embedder, items, [0]), tmp_path / "graph.onnx")
    graph = OnnxEmbedder(embedder, tmp_path / "graph.onnx")
    for numbers in BATCHES:
        inputs = batch(embedder, items, [number % len(items) for number in numbers])
        with torch.inference_mode():
            apart = (embedder(inputs) - graph(inputs)).abs().max()
        assert apart < 1e-5, numbers


def test_what_cannot_be_exported_is_refused_with_its_name(tmp_path):
    embedder, items = vision("Swin", tmp_path)
    with pytest.raises(UnsupportedModel, match=r"^spec\.output\.formats: onnx: SwinModel cannot"):
        write_graph(embedder, batch(embedder, items, [0, 1]), tmp_path / "graph.onnx")


def test_a_broken_graph_is_refused(tiny_backbone, tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(UnsupportedModel, match=r"graph\.onnx: onnxruntime cannot load the graph"):
        OnnxEmbedder(open_model(tiny_backbone), tmp_path / "graph.onnx")
