"""What is found out about a backbone without its weights and without computing."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, Qwen2Config, ViTConfig

from embedtune_api.spec import Encoder, Model
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.embedder.pair import load_pair
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.inspection import inspect_backbone, inspect_model, render, to_dict
from embedtune_trainer.module_table import WIDTH
from embedtune_trainer.sources.fetch import DESCRIPTION, Fetched
from tests.trainer.embedder import visionnets
from tests.trainer.hub import clips
from tests.trainer.hub.openclip_fixture import PLACE
from tests.trainer.hub.text_families import TEXT_FAMILIES
from tests.trainer.hub.vision_families import VISION_FAMILIES

GOLDEN = Path(__file__).parents[2] / "golden"
GUIDE = Path(__file__).parents[3] / "docs" / "inspect.md"
QWEN = Qwen2Config(
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    vocab_size=152064,
)


def look(uri, folder=None, **spec):
    encoder = Encoder.parse({"backbone": uri, **spec})
    return inspect_backbone(encoder, Fetched(uri, folder=folder) if folder else None)


def shown(analysis):
    return render({"encoder": analysis})


def configured(folder, config, architecture):
    config.architectures = [architecture]
    config.save_pretrained(folder)
    return folder


def without_weights(folder):
    """Only what is fetched for a look."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in DESCRIPTION:
            path.unlink()
    return folder


def counted(module):
    counts = [p.numel() for p in module.parameters()]
    return sum(counts), sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_resnet18_is_the_golden_one():
    text = shown(look("torchvision://resnet18")) + "\n"
    assert text == (GOLDEN / "embedtune-inspect-resnet18.txt").read_text()


def mini_lm(folder):
    """all-MiniLM-L6-v2 without weights."""
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in (("", "Transformer"), ("1_P", "Pooling"), ("2_N", "Normalize"))
    ]
    configured(folder, config, "BertModel")
    (folder / "1_P").mkdir()
    (folder / "1_P" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


@pytest.mark.parametrize("uri", ["torchvision://resnet50", "s3://bases/all-MiniLM-L6-v2"])
def test_the_guide_quotes_it(uri, tmp_path):
    folder = mini_lm(tmp_path / "mini") if uri.startswith("s3") else None
    said = shown(look(uri, folder))
    assert f"```\n$ embedtune inspect {uri}\n{said}\n```\n" in GUIDE.read_text()


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
    said = shown(analysis)
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
    content = json.loads(json.dumps(to_dict({"encoder": analysis})))
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


@pytest.mark.slow
def test_seven_billion_parameters_without_their_weights(tmp_path):
    folder = configured(tmp_path / "big", QWEN, "Qwen2ForCausalLM")
    assert [p.name for p in folder.iterdir()] == ["config.json"]
    code = (
        "import resource, sys; from embedtune_trainer.cli import main; main(sys.argv[1:]);"
        "print('kilobytes', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, memory = done.stdout.splitlines()
    assert int(memory.split()[1]) < 1.5 * 2**20
    assert len(lines) < 45
    assert max(map(len, lines)) <= WIDTH
    assert any(line.split()[:3] == ["layers.0", "…", "27"] for line in lines)
    assert lines[-6:] == [
        "head       what Qwen2ForCausalLM has besides model, left out: model is its part without"
        " a head, by",
        "           transformers' base_model_prefix",
        "feature    last_hidden_state, a vector of 3584 for each token",
        "pooling    last, then Normalize",
        "embedding  3584 dimensions",
        "weights    7,070,619,136: 7,070,619,136 trained, 0 frozen",
    ]


def test_a_text_backbone(tmp_path):
    config = BertConfig(hidden_size=32, num_attention_heads=2, intermediate_size=64)
    folder = configured(tmp_path / "bert", config, "BertForMaskedLM")
    analysis = look("s3://bases/bert", folder, freeze=["embeddings"], projection={"dim": 8})
    rows = {row.path: row for row in analysis.rows}
    assert rows["embeddings"].state == "frozen"
    assert rows["pooler"].state == "frozen"
    assert rows["encoder.layer.0.attention.self.query"].output == (2, 16, 32)
    assert (analysis.pooling, analysis.embedding_dim) == ("mean", 8)
    cuttable = [path for path, row in rows.items() if row.candidate]
    assert cuttable == [f"encoder.layer.{i}" for i in range(12)]


def test_the_cut_of_a_text_backbone(tmp_path):
    config = BertConfig(hidden_size=32, num_attention_heads=2, intermediate_size=64)
    folder = configured(tmp_path / "bert", config, "BertForMaskedLM")
    analysis = look("s3://bases/bert", folder, cut="encoder.layer.3")
    rows = {row.path: row for row in analysis.rows}
    assert rows["encoder.layer.3"].state == "trained"
    assert rows["encoder.layer.4"].state == "left out"
    assert analysis.cut == "output of encoder.layer.3"
    with pytest.raises(BadSpec, match=r"cut: 'encoder.layer.12' is no module .*near it: encoder"):
        look("s3://bases/bert", folder, cut="encoder.layer.12")


def test_a_decoder_has_no_cut(tmp_path):
    config = Qwen2Config(hidden_size=64, num_hidden_layers=3, intermediate_size=64, vocab_size=99)
    folder = configured(tmp_path / "qwen", config, "Qwen2ForCausalLM")
    assert not any(row.candidate for row in look("s3://bases/qwen", folder).rows)
    with pytest.raises(BadSpec, match="normalises what its last layer gives"):
        look("s3://bases/qwen", folder, cut="layers.1")


def test_an_image_backbone_of_the_hub(tmp_path):
    config = ViTConfig(hidden_size=32, num_attention_heads=2, intermediate_size=64, image_size=64)
    folder = configured(tmp_path / "vit", config, "ViTForImageClassification")
    analysis = look("s3://bases/vit", folder)
    assert analysis.takes == "images of 64 x 64 pixels"
    assert (analysis.pooling, analysis.embedding_dim) == ("cls", 32)
    assert look("s3://bases/vit", folder, imageSize=96).takes == "images of 96 x 96 pixels"
    cuttable = {row.path: row.candidate for row in analysis.rows if row.candidate}
    assert cuttable["embeddings.patch_embeddings.projection"] == "places"
    assert cuttable["layers.3"] == "tokens"
    assert "layers.3.attention" not in cuttable


def test_what_embedtune_saved(tmp_path):
    weights = visionnets.write_weights("torchvision://resnet18", tmp_path)
    spec = {"imageSize": 64, "projection": {"dim": 8}}
    visionnets.load("torchvision://resnet18", weights, **spec).save(tmp_path / "saved")
    analysis = look("s3://models/saved", without_weights(tmp_path / "saved"))
    assert (analysis.takes, analysis.embedding_dim) == ("images of 64 x 64 pixels", 8)
    assert not any(row.candidate for row in analysis.rows)
    with pytest.raises(BadSpec, match="is cut already"):
        look("s3://models/saved", tmp_path / "saved", cut="layer2")


def test_a_text_folder_of_sentence_transformers(tiny_backbone, tmp_path):
    spec = Encoder.parse({"backbone": "s3://bases/tiny", "projection": {"dim": 8}})
    load_encoder(Fetched("s3://bases/tiny", tiny_backbone), spec, 0).save(tmp_path / "saved")
    analysis = look("s3://models/saved", without_weights(tmp_path / "saved"))
    assert analysis.layers == ("Dense 32 to 8", "Normalize")
    assert analysis.embedding_dim == 8


@pytest.mark.parametrize("family", TEXT_FAMILIES, ids=lambda family: family.name)
def test_every_family_of_texts_is_what_loading_gives(family, tmp_path):
    folder = family.save(tmp_path / "model")
    embedder = load_encoder(Fetched("s3://b-1/m", folder), Encoder(backbone="s3://b-1/m"), 0)
    analysis = look("s3://b-1/m", without_weights(folder))
    assert (analysis.parameters, analysis.trained) == counted(embedder)
    assert analysis.embedding_dim == embedder.embedding_dim
    assert analysis.pooling == {"lasttoken": "last"}.get(family.pooling, family.pooling)


@pytest.mark.parametrize("family", VISION_FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("pooling", ["auto", "max"])
def test_every_family_of_images_is_what_loading_gives(family, pooling, tmp_path):
    folder = family.save(tmp_path / "model")
    spec = Encoder(backbone="s3://b-1/m", pooling=pooling)
    embedder = load_encoder(Fetched("s3://b-1/m", folder), spec, 0)
    analysis = look("s3://b-1/m", without_weights(folder), pooling=pooling)
    assert (analysis.parameters, analysis.trained) == counted(embedder)
    assert analysis.embedding_dim == embedder.embedding_dim


@pytest.mark.parametrize("spec", [{}, {"freeze": ["layer1"]}, {"lora": {"targets": ["layer4"]}}])
def test_it_says_what_the_loaded_model_is(tmp_path, spec):
    weights = visionnets.write_weights("torchvision://resnet18", tmp_path)
    embedder = visionnets.load("torchvision://resnet18", weights, **spec)
    analysis = look("torchvision://resnet18", **spec)
    assert (analysis.parameters, analysis.trained) == counted(embedder)
    assert analysis.embedding_dim == embedder.embedding_dim


@pytest.mark.parametrize("make", [clips.clip, clips.siglip])
@pytest.mark.parametrize("spec", [{}, {"freeze": ["text_model"]}, {"projection": {"dim": 6}}])
def test_a_clip_is_two_encoders(make, spec, tmp_path):
    uri = "s3://bases/pair"
    folder, model = make(tmp_path / "pair"), Model.parse({"backbone": uri, **spec})
    fetched = Fetched(uri, folder)
    pair = load_pair(fetched, model, 0)
    pair.save(tmp_path / "saved")
    analyses = inspect_model(model, {uri: Fetched(uri, without_weights(folder))})
    assert list(analyses) == ["text", "image"]
    for name, embedder in (("text", pair.text), ("image", pair.image)):
        found = analyses[name]
        assert (found.parameters, found.trained) == counted(embedder)
        assert found.embedding_dim == pair.embedding_dim
    assert analyses["text"].rows[0].path.startswith("text_model.")
    assert analyses["image"].rows[0].path.startswith("vision_model.")
    assert not any(row.candidate for analysis in analyses.values() for row in analysis.rows)
    said = render(analyses)
    assert said.startswith(f"CLIPTextEncoder: {uri}\n")
    assert f"\n\nCLIPImageEncoder: {uri}\n" in said
    assert list(to_dict(analyses)) == ["text", "image"]
    plain = Model.parse({"backbone": uri})
    again = inspect_model(plain, {uri: Fetched(uri, without_weights(tmp_path / "saved"))})
    assert again["text"].embedding_dim == again["image"].embedding_dim == pair.embedding_dim
    assert again["image"].parameters == analyses["image"].parameters


def test_open_clips_folder(tmp_path):
    uri, model = "hf://org/open-clip", Model.parse({"backbone": "hf://org/open-clip"})
    folder = Path(shutil.copytree(PLACE / "gelu", tmp_path / "hub"))
    pair = load_pair(Fetched(uri, folder), model, 0)
    analyses = inspect_model(model, {uri: Fetched(uri, without_weights(folder))})
    for name, embedder in (("text", pair.text), ("image", pair.image)):
        assert (analyses[name].parameters, analyses[name].trained) == counted(embedder)


def test_half_of_a_clip(tmp_path):
    uri = "s3://bases/pair"
    folder = without_weights(clips.clip(tmp_path / "pair"))
    model = Model.parse({"backbone": uri, "task": "image-to-image", "pooling": "mean"})
    analyses = inspect_model(model, {uri: Fetched(uri, folder)})
    assert list(analyses) == ["image"]
    path = "vision_model.encoder.layers.0"
    assert next(row for row in analyses["image"].rows if row.path == path).candidate == "tokens"
    cut = model.model_copy(update={"cut": path})
    said = inspect_model(cut, {uri: Fetched(uri, folder)})["image"]
    assert said.cut == "output of encoder.layers.0"


def test_two_backbones(tmp_path):
    config = BertConfig(hidden_size=32, num_attention_heads=2, intermediate_size=64)
    folder = configured(tmp_path / "bert", config, "BertModel")
    text = {"backbone": "s3://bases/bert", "freeze": ["backbone"], "projection": {"dim": 8}}
    image = {"backbone": "torchvision://resnet18", "projection": {"dim": 8}}
    fetched = {"s3://bases/bert": Fetched("s3://bases/bert", folder)}
    analyses = inspect_model(Model.parse({"text": text, "image": image}), fetched)
    assert {name: a.embedding_dim for name, a in analyses.items()} == {"text": 8, "image": 8}
    assert analyses["text"].trained == 32 * 8 + 8


def test_vectors():
    analysis = look("mlp://12", projection={"dim": 3})
    assert (analysis.rows, analysis.embedding_dim, analysis.trained) == ((), 3, 39)
    assert "feature    the vectors themselves, one vector of 12" in shown(analysis)


def test_what_cannot_be_looked_at(tmp_path):
    with pytest.raises(UnsupportedModel, match="near it: resnet"):
        look("torchvision://resnet51")
    with pytest.raises(BadSpec, match="cut: 'layer9' is no module"):
        look("torchvision://resnet18", cut="layer9")
    with pytest.raises(BadSpec, match="has to be fetched first"):
        look("s3://bases/tiny")
    with pytest.raises(BadSpec, match="projection: is required with mlp://12"):
        look("mlp://12")
    with pytest.raises(BadSpec, match="cut: mlp:// has no backbone"):
        look("mlp://12", cut="layer1", projection={"dim": 3})
    config = configured(tmp_path / "clip", clips.hf.CLIPConfig(), "CLIPModel")
    with pytest.raises(UnsupportedModel, match="is a pair of a text and an image encoder"):
        look("s3://bases/clip", config)


def test_no_weights_are_made():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    analysis = look("torchvision://vit_h_14")  # 2.5 GB of them
    assert analysis.parameters > 600_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20
    assert not torch.cuda.is_initialized()


@pytest.mark.parametrize(
    "uri",
    [
        "torchvision://swin_v2_t",
        "torchvision://densenet121",
        "timm://convnext_tiny",
        "timm://dla34",
    ],
)
def test_the_table_fits_a_hundred_columns(uri):
    lines = shown(look(uri)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) < 120
