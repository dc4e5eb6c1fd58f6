"""open_clip's folders embed as open_clip does; what transformers cannot be is refused by name.

The folders and the embeddings in them were written by open_clip: see openclip_fixture.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from embedtune_api.spec import Model
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.embedder.pair import is_pair_folder, load_pair, load_side
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.inspection import inspect_model
from embedtune_trainer.modality import wanted_by
from embedtune_trainer.rows.table import Texts
from embedtune_trainer.sources.fetch import Fetched
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from tests.trainer.hub.openclip_fixture import PLACE, TEXTS
from tests.trainer.hub.test_pair import SOME, in_transformers

URI = "hf://org/open-clip"
NEAR = 1e-5


def load(folder, **model):
    return load_pair(Fetched(URI, folder), Model.parse({"backbone": URI, **model}), seed=0)


@pytest.fixture
def folder(tmp_path):
    """A copy of one that can be written to."""
    return Path(shutil.copytree(PLACE / "gelu", tmp_path / "hub"))


def with_config(folder, where, **values):
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    (config["model_cfg"] if where is None else config["model_cfg"][where]).update(values)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("name", ["gelu", "quick-gelu"])
def test_both_embed_as_open_clip(name, tmp_path):
    expected = load_file(PLACE / name / "expected.safetensors")
    assert is_pair_folder(PLACE / name)
    pair = load(PLACE / name)
    text, image = pair.text.encode(Texts(TEXTS)), pair.image.encode(SOME)
    assert (text - expected["text"]).abs().max() < NEAR
    assert (image - expected["image"]).abs().max() < NEAR
    assert pair.log_scale.item() == 2.75
    pair.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert torch.equal(again.text.encode(Texts(TEXTS)), text)
    assert torch.equal(again.image.encode(SOME), image)
    for one, other in zip(in_transformers(tmp_path / "saved/clip"), (text, image), strict=False):
        assert (one - other).abs().max() < NEAR


def test_the_activation_matters():
    gelu, quick = (load(PLACE / name).image.encode(SOME) for name in ("gelu", "quick-gelu"))
    assert (gelu - quick).abs().max() > 10 * NEAR


def test_pickled_weights_and_weights_of_a_text_tower_of_its_own(folder):
    wanted = load(folder).text.encode(Texts(TEXTS))
    state = load_file(folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    towers = {k if k.startswith(("visual", "logit")) else f"text.{k}": t for k, t in state.items()}
    torch.save(towers, folder / "open_clip_pytorch_model.bin")
    assert torch.equal(load(folder).text.encode(Texts(TEXTS)), wanted)
    (folder / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(UnsupportedModel, match=r"hub: no weights: none of open_clip_model.saf"):
        load(folder)


def test_what_it_takes_is_told_before_it_is_fetched(folder, tmp_path):
    store = open_storage(StorageSpec(), None, RetryPolicy())
    (folder / "config.json").write_text(
        '{"architecture": "vit_base", "num_classes": 512}'
    )  # timm's
    for task, wanted in (
        ("auto", ("text", "image")),
        ("text-to-text", ("text", "text")),
        ("image-to-image", ("image", "image")),
    ):
        model = Model.parse({"backbone": f"file://{folder}", "task": task})
        assert wanted_by(model, store, tmp_path / "scratch") == wanted
    side = Model.parse({"backbone": URI, "task": "image-to-image"})
    pair = load(folder)
    alone = load_side(Fetched(URI, folder), side, 0)
    assert torch.equal(alone.encode(SOME), pair.image.encode(SOME))


@pytest.mark.parametrize(
    ("where", "values", "said"),
    [
        ("vision_cfg", {"timm_model_name": "convnext_base"}, "image tower timm convnext_base"),
        ("vision_cfg", {"layers": [3, 4, 6, 3]}, "the image tower ModifiedResNet"),
        ("vision_cfg", {"ls_init_value": 0.1}, r"vision_cfg.ls_init_value: 0.1"),
        ("vision_cfg", {"attentional_pool": True}, r"vision_cfg.attentional_pool: True"),
        ("vision_cfg", {"pool_type": "avg"}, r"vision_cfg.pool_type: avg"),
        ("text_cfg", {"hf_model_name": "xlm-roberta-base"}, "the text tower xlm-roberta-base"),
        ("text_cfg", {"no_causal_mask": True}, r"text_cfg.no_causal_mask: True"),
        (None, {"multimodal_cfg": {}}, r"multimodal_cfg \(CoCa\)"),
        (None, {"init_logit_bias": -10}, r"init_logit_bias \(SigLIP\)"),
        ("text_cfg", {"vocab_size": 600}, "its tokenizer ends texts by 513; .* here 599"),
        ("vision_cfg", {"width": 48}, "weights"),
    ],
)
def test_other_networks_are_refused_by_name(folder, where, values, said):
    with_config(folder, where, **values)
    with pytest.raises(UnsupportedModel, match=f"^hub: .*{said}"):
        load(folder)


def test_a_tensor_that_is_not_known_and_a_missing_tokenizer_are_said(folder):
    from safetensors.torch import save_file

    state = load_file(folder / "open_clip_model.safetensors")
    save_file(state | {"visual.extra": torch.ones(1)}, folder / "open_clip_model.safetensors")
    with pytest.raises(UnsupportedModel, match=r"hub: .*visual.extra"):
        load(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModel, match="hub: no tokenizer"):
        load(folder)


def test_inspect_needs_its_configuration_alone(folder):
    pair = load(folder)
    for path in folder.iterdir():
        if path.name != "open_clip_config.json":
            path.unlink()
    model = Model.parse({"backbone": URI})
    said = inspect_model(model, {URI: Fetched(URI, folder)})
    for name, embedder in (("text", pair.text), ("image", pair.image)):
        assert said[name].embedding_dim == embedder.embedding_dim
        assert said[name].parameters == sum(p.numel() for p in embedder.parameters())
