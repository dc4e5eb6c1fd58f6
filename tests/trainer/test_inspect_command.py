"""`embedtune inspect` as a user types it, and that no weights are fetched for it."""

import json
import re
from pathlib import Path
from threading import Event

import pytest
from transformers import BertConfig

from embedtune_api.spec import Encoder, Storage
from embedtune_trainer.cli import main
from embedtune_trainer.sources.fetch import fetch_description
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from tests.trainer import tiny
from tests.trainer.hub.server import SHA, Hub, serving

MODULES = json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}]).encode()
FILES = {
    "config.json": b"{}",
    "modules.json": MODULES,
    "1_Pooling/config.json": b"{}",
    "2_Dense/config.json": b"{}",
    "2_Dense/model.safetensors": b"weights",
    "model.safetensors": b"weights",
    "tokenizer.json": b"a long list of words",
}
SMALL = {"config.json", "modules.json", "1_Pooling/config.json", "2_Dense/config.json"}


@pytest.fixture
def bert(tmp_path):
    folder = tmp_path / "bases" / "bert"
    config = BertConfig(hidden_size=32, num_attention_heads=2, intermediate_size=64)
    config.save_pretrained(folder)
    return folder


def described(uri, environ, tmp_path):
    store = open_storage(Storage(), Event(), RetryPolicy(give_up_after_s=1.0), environ)
    found = fetch_description(store, Encoder(backbone=uri), tmp_path / "fetched")
    assert found.folder is not None
    return {p.relative_to(found.folder).as_posix() for p in found.folder.rglob("*") if p.is_file()}


def test_no_weights_are_fetched_from_s3(s3, tmp_path):
    for name, content in FILES.items():
        s3.put(f"base/{name}", content)
    assert described(s3.uri("base"), s3.env, tmp_path) == SMALL


def test_no_weights_are_fetched_from_the_hub(tmp_path):
    with serving(Hub({"models/org/name": FILES})) as hub:
        environ = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
        assert described("hf://org/name", environ, tmp_path) == SMALL
        assert not any("safetensors" in request for request in hub.asked)
        assert any(f"/resolve/{SHA}/config.json" in request for request in hub.asked)


def test_a_library_s_network_with_options(capsys):
    options = ["--cut", "layer3", "--pooling", "max", "--freeze", "conv1", "bn1", "--json"]
    assert main(["inspect", "torchvision://resnet18", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cut"], told["pooling"], told["embedding_dim"]) == ("output of layer3", "max", 256)
    frozen = [row["path"] for row in told["rows"] if row["state"] == "frozen"]
    assert frozen == ["conv1", "bn1"]


def test_a_folder_by_its_path_or_its_uri(bert, capsys):
    assert main(["inspect", str(bert)]) == 0
    by_path = capsys.readouterr().out
    assert main(["inspect", bert.as_uri()]) == 0
    assert capsys.readouterr().out == by_path
    assert by_path.startswith(f"{bert.as_uri()}\ntakes texts, here of 16 tokens")


def test_a_job_is_shown_as_it_trains(bert, tmp_path, capsys):
    model = {"backbone": bert.as_uri(), "freeze": ["embeddings"], "projection": {"dim": 8}}
    job = tiny.job(bert.as_uri(), "file:///t", "file:///o", model=model)
    file = tiny.write_job(tmp_path / "job.yaml", job)
    assert main(["inspect", str(file), "--cut", "encoder.layer.1"]) == 0
    out = capsys.readouterr().out
    assert "feature    output of encoder.layer.1, a vector of 32 for each token" in out
    assert "pooling    mean, then Dense 32 to 8, Normalize" in out
    assert next(line for line in out.splitlines() if " embeddings " in line).endswith("frozen")


def test_a_pair_of_backbones(bert, tmp_path, capsys):
    model = {
        "text": {"backbone": bert.as_uri(), "projection": {"dim": 8}},
        "image": {"backbone": "torchvision://resnet18", "projection": {"dim": 8}},
    }
    job = tiny.job(bert.as_uri(), "file:///t", "file:///o", model=model)
    file = tiny.write_job(tmp_path / "job.yaml", job)
    assert main(["inspect", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [told[side]["embedding_dim"] for side in ("text", "image")] == [8, 8]
    assert main(["inspect", str(file), "--pooling", "max"]) == 64
    assert "say cut, pooling, projection" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"maxSeqLength": 9999}, r"spec.model.maxSeqLength: 9999 is more than the \d+ tokens"),
        (
            {"text": {}, "image": {"backbone": "torchvision://resnet18"}},
            "spec.model.text gives 32 dimensions, and spec.model.image 512: bring them to one",
        ),
    ],
)
def test_what_a_job_cannot_have_is_refused_as_its_run_would(model, said, bert, tmp_path, capsys):
    (model.get("text", model))["backbone"] = bert.as_uri()
    job = tiny.job(bert.as_uri(), "file:///t", "file:///o", model=model)
    file = tiny.write_job(tmp_path / "job.yaml", job)
    assert main(["inspect", str(file)]) == 64
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["resnet50"], 67, "resnet50: is no file or folder here, and no URI of a backbone"),
        (["torchvision://resnet51"], 66, "no classification model 'resnet51'; near it: resnet"),
        (["torchvision://resnet18", "--freeze", "leyer1"], 64, "near it: layer1"),
        (
            ["torchvision://resnet18", "--cut", "layer9"],
            64,
            "spec.model.cut: 'layer9' is no module",
        ),
        (["mlp://0"], 64, "spec.model.backbone: String should match pattern"),
        (["file:///none"], 67, "file:///none: there is no such file or folder"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments, code, said, capsys):
    assert main(["inspect", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


def test_what_is_frozen_as_a_whole_is_shown_and_refused(capsys):
    assert main(["inspect", "torchvision://resnet18", "--freeze", "backbone"]) == 64
    out, err = capsys.readouterr()
    assert out.endswith("weights    11,176,512: 0 trained, 11,176,512 frozen\n")
    assert err.startswith("embedtune: spec.model.freeze: nothing is left to train")


def test_a_folder_without_a_configuration(tmp_path, capsys):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert main(["inspect", str(Path(tmp_path))]) == 66
    assert "no config.json" in capsys.readouterr().err
