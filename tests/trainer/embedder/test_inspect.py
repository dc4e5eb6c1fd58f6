"""`embedtune inspect` as a user sees it, without weights and without computing."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, Qwen2Config, ViTConfig

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.inspection import inspect_backbone, render, to_dict
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.embedder import visionnets

GOLDEN = Path(__file__).parents[2] / "golden"


def look(uri, folder=None, **spec):
    encoder = Encoder.parse({"backbone": uri, **spec})
    return inspect_backbone(encoder, Fetched(uri, folder=folder) if folder else None)


def configured(folder, config, architecture):
    config.architectures = [architecture]
    config.save_pretrained(folder)
    return folder


def test_resnet18_is_the_golden_one():
    assert render(look("torchvision://resnet18")) + "\n" == (GOLDEN / "inspect.txt").read_text()


def test_a_spec_shows_in_it():
    analysis = look(
        "torchvision://resnet18",
        cut="layer3",
        pooling="gem",
        freeze=["layer1"],
        projection={"dim": 64, "hidden": [128]},
    )
    rows = {row.path: row for row in analysis.rows}
    assert rows["layer1.0.conv1"].state == "frozen"
    assert rows["layer2"].state == "trained"
    assert rows["layer4"].state == rows["fc"].state == "left out"
    assert analysis.embedding_dim == 64
    assert (analysis.feature.kind, analysis.feature.dim) == ("places", 256)
    said = render(analysis)
    assert "head       none is left out but what runs behind the cut" in said
    assert "pooling    gem, then Hidden 256 to 128, Dense 128 to 64, Normalize" in said
    frozen, all_of_it = rows["layer1"].parameters, analysis.parameters
    assert analysis.trained == all_of_it - frozen - 1  # GeM's p


def test_rows_stand_in_the_order_in_which_they_run():
    paths = [row.path for row in look("torchvision://resnet18").rows]
    assert paths[:6] == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer1.0"]
    assert paths[-2:] == ["avgpool", "fc"]
    assert len(set(paths)) == len(paths)


def test_what_can_be_the_cut_is_only_what_all_passes_through():
    rows = {row.path: row.candidate for row in look("torchvision://resnet18").rows}
    assert rows["layer2.0"] == "places"
    assert rows["layer2.0.conv1"] is None
    assert rows["layer2.0.downsample"] is None


def test_json_has_all_of_it():
    analysis = look("timm://vit_tiny_patch16_224", pooling="mean", lora={"rank": 4})
    content = json.loads(json.dumps(to_dict(analysis)))
    assert content["batch"] == 2
    assert content["feature"] == {
        "kind": "tokens",
        "dim": 192,
        "channels_last": False,
        "prefix": 1,
    }
    assert content["head"]["path"] == "head"
    block = next(row for row in content["rows"] if row["path"] == "blocks.0.attn.qkv")
    assert (block["state"], block["output"]) == ("partly", [2, 197, 576])
    assert block["trained"] == 4 * (192 + 576)


def test_seven_billion_parameters_without_their_weights(tmp_path):
    config = Qwen2Config(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
    )
    folder = configured(tmp_path / "big", config, "Qwen2ForCausalLM")
    assert [p.name for p in folder.iterdir()] == ["config.json"]
    analysis = look("s3://bases/big", folder)
    assert analysis.parameters == 7_070_619_136
    assert analysis.embedding_dim == 3584
    assert analysis.pooling == "last"
    assert analysis.head.path == "what Qwen2ForCausalLM has besides model"
    assert "layers.0 … 27  " in render(analysis)
    assert len(render(analysis).splitlines()) < 40


def test_a_text_backbone(tmp_path):
    config = BertConfig(hidden_size=32, num_attention_heads=2, intermediate_size=64)
    folder = configured(tmp_path / "bert", config, "BertForMaskedLM")
    analysis = look("s3://bases/bert", folder, freeze=["embeddings"], projection={"dim": 8})
    rows = {row.path: row for row in analysis.rows}
    assert rows["embeddings"].state == "frozen"
    assert rows["pooler"].state == "frozen"
    assert rows["encoder.layer.0.attention.self.query"].output == (2, 16, 32)
    assert (analysis.pooling, analysis.embedding_dim) == ("mean", 8)


def test_an_image_backbone_of_the_hub(tmp_path):
    config = ViTConfig(hidden_size=32, num_attention_heads=2, intermediate_size=64, image_size=64)
    folder = configured(tmp_path / "vit", config, "ViTForImageClassification")
    analysis = look("s3://bases/vit", folder)
    assert analysis.takes == "images of 64 x 64 pixels"
    assert (analysis.pooling, analysis.embedding_dim) == ("cls", 32)


def test_what_embedtune_saved(tmp_path):
    weights = visionnets.write_weights("torchvision://resnet18", tmp_path)
    spec = {"imageSize": 64, "projection": {"dim": 8}}
    visionnets.load("torchvision://resnet18", weights, **spec).save(tmp_path / "saved")
    analysis = look("s3://models/saved", tmp_path / "saved")
    assert (analysis.takes, analysis.embedding_dim) == ("images of 64 x 64 pixels", 8)


@pytest.mark.parametrize("spec", [{}, {"freeze": ["layer1"]}, {"lora": {"targets": ["layer4"]}}])
def test_it_says_what_the_loaded_model_is(tmp_path, spec):
    weights = visionnets.write_weights("torchvision://resnet18", tmp_path)
    embedder = visionnets.load("torchvision://resnet18", weights, **spec)
    analysis = look("torchvision://resnet18", **spec)
    counted = [p.numel() for p in embedder.parameters()]
    trained = [p.numel() for p in embedder.parameters() if p.requires_grad]
    assert (sum(counted), sum(trained)) == (analysis.parameters, analysis.trained)
    assert analysis.embedding_dim == embedder.embedding_dim


def test_vectors():
    analysis = look("mlp://12", projection={"dim": 3})
    assert (analysis.rows, analysis.embedding_dim, analysis.trained) == ((), 3, 39)
    assert "feature    the vectors themselves, one vector of 12" in render(analysis)


def test_what_cannot_be_looked_at():
    with pytest.raises(UnsupportedModel, match="near it: resnet"):
        look("torchvision://resnet51")
    with pytest.raises(BadSpec, match="cut: 'layer9' is no module"):
        look("torchvision://resnet18", cut="layer9")
    with pytest.raises(BadSpec, match="has to be fetched first"):
        look("s3://bases/tiny")


def test_no_weights_are_made():
    analysis = look("torchvision://vit_h_14")  # 2.5 GB of them
    assert analysis.parameters > 600_000_000
    assert not torch.cuda.is_initialized()


def test_a_text_folder_of_sentence_transformers(tiny_backbone, tmp_path):
    spec = Encoder.parse({"backbone": "s3://bases/tiny", "projection": {"dim": 8}})
    load_encoder(Fetched("s3://bases/tiny", tiny_backbone), spec, 0).save(tmp_path / "saved")
    analysis = look("s3://models/saved", tmp_path / "saved")
    assert analysis.layers == ("Dense 32 to 8", "Normalize")
    assert analysis.embedding_dim == 8
