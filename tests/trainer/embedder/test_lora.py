"""Adapters: only they are trained, and the saved model is the adapted one."""

import pytest
import torch
import torchvision

from embedtune_api.spec import Encoder, Lora
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.embedder.lora import adapted, add_adapters, merged_state_dict
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.rows.table import Texts

TEXTS = ["the cat", "a big OLD dog", "red"]
LAYER = "encoder.layer.0.attention.self.query"


def load(folder, **model):
    encoder = Encoder.parse({"backbone": "s3://bases/tiny", **model})
    return load_encoder(Fetched("s3://bases/tiny", folder), encoder, 0)


def as_after_training(network):
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)


def test_only_adapters_and_the_projection_are_trained(tiny_backbone):
    embedder = load(tiny_backbone, lora={"rank": 2}, projection={"dim": 4})
    names = [name for name, p in embedder.named_parameters() if p.requires_grad]
    assert all("lora_" in name or name.startswith("layers.0.") for name in names)
    found = adapted(embedder.backbone.network)
    assert len(found) == 2 * 6  # query, key, value, output, intermediate, output; no pooler
    assert all(found[LAYER].r[name] == 2 for name in found[LAYER].active_adapters)


def test_it_begins_as_no_change(tiny_backbone):
    plain, with_lora = load(tiny_backbone), load(tiny_backbone, lora={})
    assert torch.equal(plain.encode(Texts(TEXTS)), with_lora.encode(Texts(TEXTS)))


def test_saved_it_is_the_adapted_model_without_adapters(tiny_backbone, tmp_path):
    embedder = load(tiny_backbone, lora={"rank": 4, "alpha": 8, "dropout": 0.1})
    as_after_training(embedder)
    ours = embedder.encode(Texts(TEXTS))
    assert (ours - load(tiny_backbone).encode(Texts(TEXTS))).abs().max() > 1e-2
    embedder.save(tmp_path / "saved")
    assert (embedder.encode(Texts(TEXTS)) - ours).abs().max() == 0  # and can be trained on
    again = load(tmp_path / "saved")
    assert not adapted(again.backbone.network)
    assert (again.encode(Texts(TEXTS)) - ours).abs().max() < 1e-5


def test_targets_and_what_is_frozen(tiny_backbone):
    embedder = load(
        tiny_backbone, lora={"targets": ["*.attention.self"]}, freeze=["encoder.layer.1"]
    )
    found = sorted(adapted(embedder.backbone.network))
    assert found == [f"encoder.layer.0.attention.self.{n}" for n in ("key", "query", "value")]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"lora": {"targets": ["*.querry"]}}, r"lora.targets: '\*.querry' matches no linear"),
        ({"lora": {}, "freeze": ["backbone"]}, "no linear layer of the backbone is left"),
    ],
)
def test_nothing_to_adapt_is_refused(tiny_backbone, model, said):
    with pytest.raises(BadSpec, match=said):
        load(tiny_backbone, **model)


def test_convolutions_by_name_and_statistics_that_stay():
    network = torchvision.models.resnet18(weights=None)
    frozen = add_adapters(network, Lora(rank=2, targets=("layer4",)), (), seed=0)
    assert "bn1" in frozen
    assert "layer4.1.bn2" in frozen
    as_after_training(network)
    network.eval()
    merged = torchvision.models.resnet18(weights=None).eval()
    merged.load_state_dict(merged_state_dict(network), strict=True)
    images = torch.randn(2, 3, 64, 64)
    ours, theirs = (torch.nn.functional.normalize(m(images)) for m in (merged, network))
    assert (ours - theirs).abs().max() < 1e-5
