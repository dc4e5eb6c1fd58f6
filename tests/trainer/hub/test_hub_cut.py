"""`cut` takes a module's output of a Hugging Face image network; what is behind it goes."""

import pytest
import torch
import transformers as hf

from embedtune_api.spec import Encoder, Model
from embedtune_trainer.embedder.inspect_backbone import inspect_backbone
from embedtune_trainer.embedder.pair import load_side
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.hub import clips
from tests.trainer.hub.test_vision_families import SOME, inputs_of, load
from tests.trainer.hub.vision_families import VISION_FAMILIES

NAMED = {family.name: family for family in VISION_FAMILIES}
CUTS = {
    "ViT": ("layers.0", "cls", 32),
    "DINOv2 with registers": ("encoder.layer.0.norm2", "cls", 32),
    "ConvNext": ("encoder.stages.1", "mean", 16),
    "Swin": ("encoder.layers.0", "mean", 32),
    "ResNet": ("encoder.stages.0", "mean", 16),
    "SigLIP's image encoder": ("encoder.layers.0", "mean", 32),
}
"""Of a family: a module, the pooling of its output, and its dimension."""


def output_of(folder, embedder, path):
    """A module's first output in the whole network, as transformers runs it."""
    network = hf.AutoModel.from_pretrained(folder).eval()
    found = []
    network.get_submodule(path).register_forward_hook(lambda *call: found.append(call[2]))
    with torch.no_grad():
        network(pixel_values=inputs_of(embedder))
    return found[-1] if isinstance(found[-1], torch.Tensor) else found[-1][0]


@pytest.mark.parametrize("name", CUTS)
def test_the_feature_is_the_modules_output_and_is_saved(name, tmp_path):
    path, pooling, dim = CUTS[name]
    folder = NAMED[name].save(tmp_path / "hub")
    embedder = load(folder, cut=path, normalize=False)
    assert embedder.pooling.modes == (pooling,)
    assert embedder.embedding_dim == dim
    out = output_of(folder, embedder, path)
    if out.ndim == 4:
        out = out.flatten(2).transpose(1, 2)
    theirs = out[:, 0] if pooling == "cls" else out.mean(1)
    ours = embedder.encode(SOME)
    assert (ours - theirs).abs().max() < 1e-5
    before = sum(p.numel() for p in load(folder).backbone.parameters())
    assert sum(p.numel() for p in embedder.backbone.parameters()) < before
    embedder.save(tmp_path / "saved")
    assert torch.equal(load(tmp_path / "saved").encode(SOME), ours)
    with pytest.raises(BadSpec, match=r"spec.model.cut: saved is cut already"):
        load(tmp_path / "saved", cut=path)


def test_a_cut_with_all_that_a_spec_says(tmp_path):
    folder = NAMED["ViT"].save(tmp_path / "hub")
    more = {"pooling": "mean", "projection": {"dim": 8}, "imageSize": 48, "lora": {"rank": 2}}
    embedder = load(folder, cut="layers.1", **more).train()
    embedder(inputs_of(embedder)).mul(torch.arange(8)).sum().backward()
    trained = {n: p for n, p in embedder.named_parameters() if p.requires_grad}
    assert any("lora_" in name for name in trained)
    assert [name for name, p in trained.items() if p.grad is None] == []
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ours = embedder.eval().encode(SOME)
    embedder.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert inputs_of(again).shape[-2:] == (48, 48)
    assert (again.encode(SOME) - ours).abs().max() < 1e-5


def test_frozen_behind_and_in_front(tmp_path):
    folder = NAMED["ConvNext"].save(tmp_path / "hub")
    embedder = load(folder, cut="encoder.stages.1", freeze=["encoder.stages.0"]).train()
    embedder(inputs_of(embedder)).mul(torch.arange(16)).sum().backward()
    named = dict(embedder.backbone.network.named_parameters())
    assert not any(name.startswith(("encoder.stages.2", "encoder.stages.3")) for name in named)
    assert {n for n, p in named.items() if not p.requires_grad} == {
        n for n in named if n.startswith("encoder.stages.0")
    }
    assert [n for n, p in named.items() if p.requires_grad and p.grad is None] == []


def test_of_a_clips_image_encoder_by_its_path_in_the_pair(tmp_path):
    folder = clips.clip(tmp_path / "hub")
    uri = "hf://org/clip"
    model = {"backbone": uri, "task": "image-to-image", "cut": "vision_model.encoder.layers.0"}
    embedder = load_side(Fetched(uri, folder), Model.parse(model), 0)
    assert embedder.embedding_dim == 32
    whole = hf.CLIPModel.from_pretrained(folder).eval()
    with torch.no_grad():
        out = whole.vision_model(inputs_of(embedder), output_hidden_states=True)
    theirs = torch.nn.functional.normalize(out.hidden_states[1][:, 0])
    assert (embedder.encode(SOME) - theirs).abs().max() < 1e-5


def test_a_wrong_path_is_answered_by_near_ones(tmp_path):
    folder = NAMED["ConvNext"].save(tmp_path / "hub")
    with pytest.raises(BadSpec, match=r"spec.model.cut: 'encoder.stage.1' is no .*stages.1"):
        load(folder, cut="encoder.stage.1")
    with pytest.raises(BadSpec, match=r"spec.model.freeze: 'encoder.stages.3' matches no"):
        load(folder, cut="encoder.stages.1", freeze=["encoder.stages.3"])


@pytest.mark.parametrize("name", ["ViT", "ConvNext"])
def test_inspect_says_what_training_makes(name, tmp_path):
    path, pooling, dim = CUTS[name]
    folder = NAMED[name].save(tmp_path / "hub")
    embedder = load(folder, cut=path, projection={"dim": 8}, freeze=["embeddings"])
    embedder.save(tmp_path / "saved")
    spec = {"backbone": "hf://org/name", "projection": {"dim": 8}, "freeze": ["embeddings"]}
    for place, model in ((folder, {**spec, "cut": path}), (tmp_path / "saved", spec)):
        said = inspect_backbone(Encoder.parse(model), Fetched("", place))
        assert (said.embedding_dim, said.feature.dim) == (8, dim)
        assert said.pooling == pooling
        assert said.cut == f"output of {path}"
        assert said.parameters == sum(p.numel() for p in embedder.parameters())
        assert said.trained == sum(p.numel() for p in embedder.parameters() if p.requires_grad)
    with pytest.raises(BadSpec, match=r"spec.model.cut: 'nowhere' is no module"):
        inspect_backbone(Encoder.parse({**spec, "cut": "nowhere"}), Fetched("", folder))
