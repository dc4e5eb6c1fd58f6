"""Networks of torchvision and timm without their heads: what they give, what is trained, saved."""

import json
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

import localassets
from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.embedder.reload import load_saved
from embedtune_trainer.embedder.vision import library_model
from embedtune_trainer.errors import BadSpec, StorageUnavailable, UnsupportedModel
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.embedder import visionnets

RESNET = "torchvision://resnet18"
VIT = "timm://test_vit"
SIZE = 64


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return visionnets.write_weights(RESNET, tmp_path_factory.mktemp("resnet"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return visionnets.write_weights(VIT, tmp_path_factory.mktemp("vit"))


def whole(weights):
    network = torchvision.models.resnet18(weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def embed(embedder, size=SIZE):
    with torch.inference_mode():
        return embedder(visionnets.images(size))


def test_auto_is_what_goes_into_the_head(resnet):
    network = whole(resnet)
    network.fc = nn.Identity()
    expected = network(visionnets.images(SIZE))
    plain = visionnets.load(RESNET, resnet, imageSize=SIZE, normalize=False)
    assert torch.allclose(embed(plain), expected, atol=1e-6)
    normalised = visionnets.load(RESNET, resnet, imageSize=SIZE)
    assert torch.allclose(embed(normalised), functional.normalize(expected), atol=1e-6)
    assert not any("fc" in name for name, _ in plain.named_parameters())
    assert plain.embedding_dim == 512


def test_pooling_takes_the_places_before_the_head(resnet):
    network = whole(resnet)
    maps = []
    network.layer4.register_forward_hook(lambda _, __, out: maps.append(out))
    network(visionnets.images(SIZE))
    for pooling, expected in {
        "mean": maps[0].mean((2, 3)),
        "max": maps[0].amax((2, 3)),
        "gem": (maps[0].clamp(min=1e-6) ** 3).mean((2, 3)) ** (1 / 3),
    }.items():
        embedder = visionnets.load(RESNET, resnet, imageSize=SIZE, normalize=False, pooling=pooling)
        assert torch.allclose(embed(embedder), expected, atol=1e-5), pooling


def test_pooling_of_a_transformers_tokens(vit):
    network = timm.create_model("test_vit")
    network.load_state_dict(torch.load(vit, weights_only=True))
    tokens = network.eval().forward_features(visionnets.images(160))
    for pooling, expected in {
        "auto": tokens[:, 0],
        "cls": tokens[:, 0],
        "mean": tokens[:, 1:].mean(1),
    }.items():
        embedder = visionnets.load(VIT, vit, normalize=False, pooling=pooling)
        assert torch.allclose(embed(embedder, 160), expected, atol=1e-5), pooling


def test_a_cut_takes_that_modules_output_and_drops_what_follows(resnet):
    network = whole(resnet)
    outputs = []
    network.layer2[1].register_forward_hook(lambda _, __, out: outputs.append(out))
    network(visionnets.images(SIZE))
    embedder = visionnets.load(
        RESNET, resnet, imageSize=SIZE, cut="layer2.1", normalize=False, freeze=["layer1"]
    )
    assert torch.allclose(embed(embedder), outputs[0].mean((2, 3)), atol=1e-6)
    names = {name.split(".")[0] for name, _ in embedder.backbone.network.named_parameters()}
    assert names == {"conv1", "bn1", "layer1", "layer2"}


@pytest.mark.parametrize(
    ("uri", "spec", "said"),
    [
        (
            RESNET,
            {"cut": "layer5.1"},
            r"cut: 'layer5.1' is no module .*near it: layer\d.1.*inspect",
        ),
        (RESNET, {"pooling": "cls"}, "pooling: cls is not for the places of an image"),
        (RESNET, {"pooling": "last"}, "pooling: last is not for the places of an image"),
        (RESNET, {"cut": "layer4", "pooling": "none"}, "none is not for the places"),
        (RESNET, {"freeze": ["fc"]}, "freeze: 'fc' matches no module"),
        (RESNET, {"freeze": ["backbone"]}, "nothing is left to train"),
        (RESNET, {"lora": {}}, "no linear layer of the backbone is left"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(resnet, uri, spec, said):
    with pytest.raises(BadSpec, match=said):
        visionnets.load(uri, resnet, imageSize=SIZE, **spec)


def test_an_image_size_that_a_network_cannot_take(vit):
    with pytest.raises(BadSpec, match=r"spec.model.imageSize: torchvision://vit_b_16 cannot take"):
        visionnets.load("torchvision://vit_b_16", vit, imageSize=100)


def test_frozen_layers_keep_weights_and_statistics(resnet):
    embedder = visionnets.load(
        RESNET, resnet, imageSize=SIZE, freezeAllBut=["layer4"], projection={"dim": 8}
    )
    before = {k: v.clone() for k, v in embedder.state_dict().items()}
    embedder.train()
    optimizer = torch.optim.SGD([p for p in embedder.parameters() if p.requires_grad], lr=0.1)
    embedder(visionnets.images(SIZE, 4)).square().sum().neg().backward()
    assert all(p.grad is not None for p in embedder.parameters() if p.requires_grad)
    embedder(visionnets.images(SIZE, 4))[:, 0].sum().backward()
    optimizer.step()
    moved = {
        name
        for name, value in embedder.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert {name.split(".")[2] if "network" in name else "layers" for name in moved} == {
        "layer4",
        "layers",
    }
    assert "backbone.network.layer4.0.bn1.running_mean" in moved


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_heads_that_only_train_neither_train_nor_break(tmp_path, name):
    uri = f"torchvision://{name}"
    weights = visionnets.write_weights(uri, tmp_path)
    embedder = visionnets.load(uri, weights, imageSize=96).train()
    assert embedder(visionnets.images(96)).shape == (2, embedder.embedding_dim)
    assert not any("aux" in name.lower() for name, _ in embedder.named_parameters())


@pytest.mark.parametrize(
    "spec",
    [
        {"projection": {"dim": 16, "hidden": [32], "norm": "batch", "dropout": 0.1}},
        {"pooling": "gem", "poolingOptions": {"p": 4.3, "learnable": True}},
        {"cut": "layer3.0", "normalize": False},
        {"lora": {"rank": 2, "targets": ["layer4"]}},
    ],
    ids=str,
)
def test_saved_and_rebuilt_it_embeds_the_same(resnet, tmp_path, spec):
    embedder = visionnets.load(RESNET, resnet, imageSize=SIZE, **spec)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in embedder.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
    embedder.save(tmp_path / "saved")
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == [
        "embedtune.json",
        "model.safetensors",
    ]
    again = load_saved(tmp_path / "saved")
    assert (embed(again) - embed(embedder)).abs().max() < 1e-5
    assert again.processor.preprocessing == embedder.processor.preprocessing
    assert again.embedding_dim == embedder.embedding_dim


def test_a_saved_model_is_a_backbone_for_the_next_training(resnet, tmp_path):
    visionnets.load(RESNET, resnet, imageSize=SIZE, projection={"dim": 16}).save(tmp_path / "one")
    fetched = Fetched("s3://models/one", folder=tmp_path / "one")

    def load(**spec):
        return load_encoder(fetched, Encoder.parse({"backbone": "s3://models/one", **spec}), 0)

    assert load().embedding_dim == 16
    assert load(projection={"dim": 5}, freeze=["layer1"]).embedding_dim == 5
    assert load(imageSize=96).processor.preprocessing.size == (96, 96)
    with pytest.raises(BadSpec, match="cut: one is cut already"):
        load(cut="layer1")
    settings = json.loads((tmp_path / "one" / "embedtune.json").read_text())
    (tmp_path / "one" / "embedtune.json").write_text(json.dumps(settings | {"format": 2}))
    with pytest.raises(UnsupportedModel, match="is of format 2; this version reads 1"):
        load()


def test_weights_of_another_image_size_are_fitted(vit, tmp_path):
    embedder = visionnets.load(VIT, vit, imageSize=64)
    assert embedder.backbone.network.pos_embed.shape == (1, 1 + 16, 64)
    assert embed(embedder).shape == (2, 64)


def test_weights_in_safetensors_and_wrapped(resnet, tmp_path):
    state = torch.load(resnet, weights_only=True)
    save_file(dict(state), tmp_path / "w.safetensors")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pt"
    )
    expected = embed(visionnets.load(RESNET, resnet, imageSize=SIZE))
    for name in ("w.safetensors", "w.pt"):
        assert torch.equal(
            embed(visionnets.load(RESNET, tmp_path / name, imageSize=SIZE)), expected
        )
    assert load_file(tmp_path / "w.safetensors")["fc.weight"].shape == (1000, 512)


def test_names_may_differ_if_the_order_does_not(resnet, tmp_path):
    state = torch.load(resnet, weights_only=True)
    renamed = {f"net{i}.{k.rpartition('.')[2]}": v for i, (k, v) in enumerate(state.items())}
    torch.save(renamed, tmp_path / "renamed.pth")
    expected = embed(visionnets.load(RESNET, resnet, imageSize=SIZE))
    got = visionnets.load(RESNET, tmp_path / "renamed.pth", imageSize=SIZE)
    assert torch.equal(embed(got), expected)


def test_a_head_of_other_classes_is_no_matter_but_all_else_is(resnet, tmp_path):
    state = torch.load(resnet, weights_only=True)
    state["fc.weight"], state["fc.bias"] = torch.zeros(7, 512), torch.zeros(7)
    torch.save(state, tmp_path / "seven.pth")
    visionnets.load(RESNET, tmp_path / "seven.pth", imageSize=SIZE)
    del state["layer1.0.conv1.weight"]
    state["extra.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(UnsupportedModel) as caught:
        visionnets.load(RESNET, tmp_path / "wrong.pth", imageSize=SIZE)
    assert "wrong.pth: is not a state dict of ResNet: missing: layer1.0.conv1.weight" in str(
        caught.value
    )
    assert "superfluous: extra.weight" in str(caught.value)


class Code:
    def __reduce__(self):
        return (print, ("code in a file was run",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"x": Code()}, tmp_path / "evil.pth")
    with pytest.raises(UnsupportedModel, match=r"evil.pth: is no state dict that can be loaded"):
        visionnets.load(RESNET, tmp_path / "evil.pth")
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("torchvision://resnet51", "no classification model 'resnet51'; near it: resnet"),
        ("torchvision://fcn_resnet50", "no classification model"),
        ("torchvision://resnet50.V9", "no weights 'V9' of resnet50, but IMAGENET1K_V1, IMAGENET1K"),
        ("timm://resnet51", "timm has no model 'resnet51'; near it: "),
        ("timm://resnet50.nobody", "timm has no weights 'nobody' of resnet50, but resnet50."),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_near(uri, said):
    with pytest.raises(UnsupportedModel, match=said):
        library_model(uri, None)


@pytest.mark.parametrize("uri", [RESNET, "timm://resnet18"])
def test_weights_that_cannot_be_downloaded(monkeypatch, uri):
    def unreachable(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    monkeypatch.setattr(
        "embedtune_trainer.embedder.timm_models.load_state_dict_from_hf", unreachable
    )
    with pytest.raises(StorageUnavailable, match=r"no route.*spec.model.weights"):
        load_encoder(Fetched(uri), Encoder(backbone=uri), 0)


@pytest.mark.parametrize(
    ("uri", "weights", "size", "resize", "interpolation"),
    [
        ("torchvision://resnet50", None, 224, 232, "bilinear"),
        ("torchvision://resnet50.IMAGENET1K_V1", None, 224, 256, "bilinear"),
        ("torchvision://resnet50", "resnet50-0676ba61.pth", 224, 256, "bilinear"),
        ("torchvision://vit_b_16.IMAGENET1K_SWAG_E2E_V1", None, 384, 384, "bicubic"),
        ("timm://tf_efficientnet_lite0", None, 224, 256, "bicubic"),
    ],
)
def test_preprocessing_is_that_of_the_weights(uri, weights, size, resize, interpolation):
    found = library_model(uri, weights).preprocessing
    assert (found.size, found.resize, found.interpolation) == (
        (size, size),
        resize,
        interpolation,
    )


@pytest.mark.parametrize(
    ("uri", "asset", "make"),
    [
        (
            "torchvision://mobilenet_v2",
            localassets.mobilenet_v2,
            lambda: torchvision.models.mobilenet_v2(weights=None),
        ),
        (
            "timm://tf_efficientnet_lite0",
            localassets.efficientnet_lite0,
            lambda: timm.create_model("tf_efficientnet_lite0"),
        ),
    ],
    ids=["mobilenet_v2", "efficientnet_lite0"],
)
def test_trained_weights_give_what_the_library_gives(uri, asset, make):
    weights = asset()
    network = make()
    network.load_state_dict(
        load_file(weights)
        if weights.suffix == ".safetensors"
        else torch.load(weights, weights_only=True)
    )
    network.classifier = nn.Identity()
    images = visionnets.images(224)
    embedder = visionnets.load(uri, weights)
    with torch.inference_mode():
        expected = functional.normalize(network.eval()(images))
        got = embedder(images)
    assert (got - expected).abs().max() < 1e-5
    assert got.shape == (2, 1280)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("uri", "size", "pooling"),
    [
        (RESNET, 64, "auto"),
        ("torchvision://mobilenet_v3_small", 64, "auto"),
        ("timm://resnet18", 64, "auto"),
        ("timm://resnet18", 64, "gem"),
    ],
)
def test_it_can_be_exported(tmp_path, uri, size, pooling):
    weights = visionnets.write_weights(uri, tmp_path)
    embedder = visionnets.load(uri, weights, imageSize=size, pooling=pooling)
    images = visionnets.images(size)
    exported = torch.export.export(embedder, (images,), strict=False)
    assert torch.allclose(exported.module()(images), embedder(images), atol=1e-5)
