"""The usual image families: head left out, features as their own, all trained, saved whole."""

import numpy as np
import pytest
import torch
import transformers as hf
from sentence_transformers import SentenceTransformer

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.embedder.vision_families import FAMILIES
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.hub.vision_families import VISION_FAMILIES, images, pictures

KINDS = ("ViT", "DINOv2 with registers", "ConvNext", "Swin", "SigLIP's image encoder")
"""One of each way to have a feature."""
EACH = pytest.mark.parametrize("family", VISION_FAMILIES, ids=lambda family: family.name)
SOME = images()


def load(folder, **model):
    encoder = Encoder.parse({"backbone": "hf://org/name", **model})
    return load_encoder(Fetched("hf://org/name", folder), encoder, seed=0)


def inputs_of(embedder, items=SOME):
    indices = np.arange(len(items))
    return embedder.processor.batch(embedder.processor.table(items), indices, torch.device("cpu"))


def in_transformers(folder):
    """Outputs of AutoModel on what AutoImageProcessor makes, as a user has them."""
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.no_grad():
        model = hf.AutoModel.from_pretrained(folder).eval()
        return model(**processor(pictures(), return_tensors="pt"))


@EACH
def test_the_feature_is_the_familys_own_and_is_saved_whole(family, tmp_path):
    embedder = load(family.save(tmp_path / "hub"), normalize=False)
    network = embedder.backbone.network
    assert type(network).__name__ == family.network
    assert embedder.embedding_dim == family.dim
    ours = embedder.encode(SOME)
    assert torch.pdist(ours).min() > 1e-4
    embedder.save(tmp_path / "saved")
    out = in_transformers(tmp_path / "saved")
    cls = not FAMILIES[network.config.model_type].pooled
    theirs = out.last_hidden_state[:, 0] if cls else out.pooler_output.flatten(1)
    assert (theirs - ours).abs().max() < 1e-5
    assert torch.equal(load(tmp_path / "saved").encode(SOME), ours)


@EACH
@pytest.mark.parametrize("model", [{}, {"projection": {"dim": 8}}], ids=["own", "projection"])
def test_plain_sentence_transformers_embeds_alike(family, model, tmp_path):
    embedder = load(family.save(tmp_path / "hub"), **model)
    embedder.save(tmp_path / "saved")
    ours = embedder.encode(SOME)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(pictures())
    assert (torch.from_numpy(theirs) - ours).abs().max() < 1e-5
    (tmp_path / "saved/embedtune.json").unlink()
    assert torch.equal(load(tmp_path / "saved").encode(SOME), ours), "read without our own words"


@pytest.mark.parametrize(
    ("name", "pooling", "said"),
    [("ViT", "mean", False), ("ViT", "gem", False), ("Swin", "gem", False), ("Swin", "max", True)],
)
def test_what_sentence_transformers_cannot_do_is_not_in_its_layout(name, pooling, said, tmp_path):
    """It pools over the class token too, and does not know GeM."""
    family = next(f for f in VISION_FAMILIES if f.name == name)
    load(family.save(tmp_path / "hub"), pooling=pooling).save(tmp_path / "saved")
    assert (tmp_path / "saved/modules.json").exists() == said


def test_a_foreign_folder_that_pools_the_class_token_is_refused(tmp_path):
    load(VISION_FAMILIES[0].save(tmp_path / "hub")).save(tmp_path / "saved")
    (tmp_path / "saved/embedtune.json").unlink()
    config = tmp_path / "saved/1_Pooling/config.json"
    config.write_text('{"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true}')
    with pytest.raises(UnsupportedModel, match=r"saved/modules.json: pools last_hidden_state by m"):
        load(tmp_path / "saved")


def test_a_foreign_folder_that_pools_what_is_pooled_already_is_refused(tmp_path):
    load(VISION_FAMILIES[0].save(tmp_path / "hub")).save(tmp_path / "saved")
    (tmp_path / "saved/embedtune.json").unlink()
    config = tmp_path / "saved/sentence_bert_config.json"
    config.write_text(config.read_text().replace("last_hidden_state", "pooler_output"))
    with pytest.raises(UnsupportedModel, match=r"saved/modules.json: pools pooler_output by cls;"):
        load(tmp_path / "saved")


OTHERS = pytest.mark.parametrize(
    "family", [f for f in VISION_FAMILIES if f.name in KINDS], ids=lambda family: family.name
)


@OTHERS
def test_other_poolings_come_back_as_they_were_saved(family, tmp_path):
    folder = family.save(tmp_path / "hub")
    seen = []
    for pooling in family.raw:
        embedder = load(folder, pooling=pooling, projection={"dim": 8})
        embedder.save(tmp_path / pooling)
        seen.append(embedder.encode(SOME))
        assert seen[-1].shape == (len(SOME), 8)
        assert torch.equal(load(tmp_path / pooling).encode(SOME), seen[-1])
    assert torch.pdist(torch.stack(seen).flatten(1)).min() > 1e-3


@pytest.mark.parametrize(
    ("family", "pooling"),
    [(f, p) for f in VISION_FAMILIES for p in ("auto", "mean") if p == "auto" or f.name in KINDS],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_is_trainable_gets_a_gradient(family, pooling, tmp_path):
    folder = family.save(tmp_path / "hub")
    embedder = load(folder, pooling=pooling, projection={"dim": 8}).train()
    embedder(inputs_of(embedder)).mul(torch.arange(8)).sum().backward()
    named = list(embedder.named_parameters())
    left_out = [name for name, p in named if p.requires_grad and p.grad is None]
    assert [name for name in left_out if "mask_token" not in name] == []


def test_images_of_another_size(tmp_path):
    for family in (VISION_FAMILIES[0], VISION_FAMILIES[-1]):
        folder = family.save(tmp_path / family.network)
        embedder = load(folder, imageSize=48)
        assert inputs_of(embedder).shape == (len(SOME), 3, 48, 48)
        embedder.save(tmp_path / "saved")
        again = load(tmp_path / "saved")
        assert torch.equal(again.encode(SOME), embedder.encode(SOME))
        processor = hf.AutoImageProcessor.from_pretrained(tmp_path / "saved", backend="pil")
        values = processor(pictures(), return_tensors="pt")["pixel_values"]
        assert values.shape == (len(SOME), 3, 48, 48)


def test_frozen_layers_stay_as_they_are(tmp_path):
    folder = next(f for f in VISION_FAMILIES if f.name == "ResNet").save(tmp_path / "hub")
    embedder = load(folder, freeze=["embedder", "encoder.stages.0"]).train()
    before = {k: v.clone() for k, v in embedder.backbone.network.state_dict().items()}
    embedder(inputs_of(embedder)).sum().backward()
    moved = {k for k, v in embedder.backbone.network.state_dict().items() if (v != before[k]).any()}
    assert moved  # running statistics of what is not frozen
    assert all(name.startswith("encoder.stages.1") for name in moved)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"cut": "encoder.layer.0"}, r"spec.model.cut: .encoder.layer.0. is no .*layers.0"),
        ({"pooling": "last"}, r"spec.model.pooling: last is not for the tokens of an image"),
        ({"pooling": "none"}, r"spec.model.pooling: none is not for the tokens of an image"),
        ({"freeze": ["encoder.layr"]}, r"spec.model.freeze: 'encoder.layr' matches no module"),
        ({"freeze": ["backbone"]}, "nothing is left to train"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, model, said):
    with pytest.raises(BadSpec, match=said):
        load(VISION_FAMILIES[0].save(tmp_path / "hub"), **model)


def test_an_unknown_family_and_a_missing_preprocessing_are_said(tmp_path):
    hf.PoolFormerModel(
        hf.PoolFormerConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1])
    ).save_pretrained(tmp_path / "pool")
    with pytest.raises(UnsupportedModel, match=r"poolformer is none of .* vit, .*timm://NAME"):
        load(tmp_path / "pool")
    folder = VISION_FAMILIES[0].save(tmp_path / "hub")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UnsupportedModel, match=r"no preprocessor_config.json"):
        load(folder)
