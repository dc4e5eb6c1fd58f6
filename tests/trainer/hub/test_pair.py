"""CLIP-like checkpoints become two encoders with a temperature, and come back as they were."""

import numpy as np
import pytest
import torch
import transformers as hf
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize

from embedtune_api.spec import Encoder, Model
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.embedder.naflex import Patches
from embedtune_trainer.embedder.pair import build_pair, is_pair_folder, load_pair
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.rows.table import Texts
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.hub import clips
from tests.trainer.hub.vision_families import VISION_FAMILIES, images, pictures

TEXTS = ["a cat", "the big old dog that saw it all and more", "red"]
SOME = images()
URI = "hf://org/clip"
BOTH = pytest.mark.parametrize("make", [clips.clip, clips.siglip], ids=["CLIP", "SigLIP"])
EACH = pytest.mark.parametrize("make", clips.CLIPS.values(), ids=clips.CLIPS)
NORMAL = 1e-5
"""Of embeddings whose images transformers prepared, which computes that in another order."""
SAME = 1e-6


def load(folder, **model):
    return load_pair(Fetched(URI, folder), Model.parse({"backbone": URI, **model}), seed=0)


def inputs_of(embedder, items):
    table = embedder.processor.table(items)
    return embedder.processor.batch(table, np.arange(len(items)), torch.device("cpu"))


def embeddings(pair):
    return pair.text.encode(Texts(TEXTS)), pair.image.encode(SOME)


def in_transformers(folder):
    """The checkpoint's features on its own tokenizer's and image processor's output."""
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = hf.AutoModel.from_pretrained(folder).eval()
    siglip = hasattr(model, "logit_bias")
    tokens = tokenizer(
        TEXTS,
        padding="max_length" if siglip else True,
        max_length=16,
        truncation=True,
        return_tensors="pt",
    )
    if siglip:
        tokens = {"input_ids": tokens["input_ids"]}
    pixels = processor(pictures(), return_tensors="pt")
    with torch.no_grad():
        out = model(**tokens, **pixels)
        text = normalize(model.get_text_features(**tokens).pooler_output)
        image = normalize(model.get_image_features(**pixels).pooler_output)
    return text, image, out.logits_per_text


def features(folder, pair):
    """The whole network's features of the very inputs that the two encoders get."""
    model = hf.AutoModel.from_pretrained(folder).eval()
    tokens, pixels = inputs_of(pair.text, Texts(TEXTS)), inputs_of(pair.image, SOME)
    mask = {} if hasattr(model, "logit_bias") else {"attention_mask": tokens.mask_BT}
    with torch.no_grad():
        text = model.get_text_features(input_ids=tokens.ids_BT, **mask).pooler_output
        given = {"pixel_values": pixels}
        if isinstance(pixels, Patches):
            given = {
                "pixel_values": pixels.values_BNP,
                "pixel_attention_mask": pixels.mask_BN,
                "spatial_shapes": pixels.grids_B2,
            }
        image = model.get_image_features(**given).pooler_output
    return normalize(text), normalize(image)


@pytest.mark.parametrize(
    "make",
    [*clips.CLIPS.values(), lambda folder: clips.clip(folder, old_end=True)],
    ids=[*clips.CLIPS, "CLIP with an old configuration"],
)
def test_both_embed_as_the_checkpoint(make, tmp_path):
    folder = make(tmp_path / "hub")
    assert is_pair_folder(folder)
    pair = load(folder)
    text, image, logits = in_transformers(folder)
    ours = embeddings(pair)
    assert pair.embedding_dim == text.shape[1]
    assert (ours[0] - text).abs().max() < NORMAL
    assert (ours[1] - image).abs().max() < NORMAL
    assert torch.pdist(torch.cat(ours)).min() > 1e-3
    for one, other in zip(ours, features(folder, pair), strict=True):
        assert (one - other).abs().max() < SAME
    assert (pair.similarities(*ours) - logits).abs().max() < 1e-4


@EACH
def test_a_text_alone_embeds_as_beside_longer_ones(make, tmp_path):
    """Also of a pair that was saved, and with the text encoder alone."""
    pair = load(make(tmp_path / "hub"))
    pair.save(tmp_path / "saved")
    encoder = Encoder.parse({"backbone": URI})
    text = load_encoder(Fetched("", tmp_path / "saved/text"), encoder, 0)
    together = pair.text.encode(Texts(TEXTS))
    for found in (pair.text, load(tmp_path / "saved").text, text):
        alone = torch.cat([found.encode(Texts([said])) for said in TEXTS])
        assert (alone - together).abs().max() < SAME


@EACH
def test_saved_each_is_a_model_of_its_own_and_both_are_a_pair(make, tmp_path):
    pair = load(make(tmp_path / "hub"))
    with torch.no_grad():  # so that what comes back is what was learnt
        for parameter in pair.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    ours = embeddings(pair)
    Encoders.pair(pair).save(tmp_path / "saved")
    assert is_pair_folder(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert torch.equal(again.log_scale, pair.log_scale)
    assert (again.bias is None) == (pair.bias is None)
    assert pair.bias is None or torch.equal(again.bias, pair.bias)
    for one, other in zip(embeddings(again), ours, strict=True):
        assert torch.equal(one, other)
    text, image, logits = in_transformers(tmp_path / "saved/clip")
    assert (ours[0] - text).abs().max() < NORMAL
    assert (ours[1] - image).abs().max() < NORMAL
    assert (pair.similarities(*ours) - logits).abs().max() < 1e-4
    plain = Encoder.parse({"backbone": URI})
    text_alone, image_alone = (
        load_encoder(Fetched("", tmp_path / "saved" / name), plain, 0) for name in ("text", "image")
    )
    assert torch.equal(text_alone.encode(Texts(TEXTS)), ours[0])
    assert torch.equal(image_alone.encode(SOME), ours[1])


def test_clips_text_encoder_is_a_sentence_transformer(tmp_path):
    pair = load(clips.clip(tmp_path / "hub"))
    pair.save(tmp_path / "saved")
    model = SentenceTransformer(str(tmp_path / "saved/text"), device="cpu")
    theirs = torch.from_numpy(model.encode(TEXTS, show_progress_bar=False))
    assert (theirs - pair.text.encode(Texts(TEXTS))).abs().max() < NORMAL


@pytest.mark.parametrize("model", [{}, {"projection": {"dim": 8}}], ids=["own", "new"])
def test_plain_sentence_transformers_embeds_both_of_clip(model, tmp_path):
    pair = load(clips.clip(tmp_path / "hub"), **model)
    pair.save(tmp_path / "saved")
    whole = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    texts, seen = (torch.from_numpy(whole.encode(items)) for items in (TEXTS, pictures()))
    assert (texts - pair.text.encode(Texts(TEXTS))).abs().max() < NORMAL
    assert (seen - pair.image.encode(SOME)).abs().max() < NORMAL


def test_siglips_texts_lose_case_and_its_first_version_also_punctuation(tmp_path):
    folder = clips.siglip(tmp_path / "hub")
    texts = ["a cat it is", "A Cat IT is", "A cat,  it is!"]
    said = load(folder).text.encode(Texts(texts))
    assert torch.equal(said[0], said[1])
    assert not torch.equal(said[0], said[2])
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text().replace("T5Tokenizer", "SiglipTokenizer"))
    first = load(folder)
    assert torch.equal(first.text.encode(Texts(texts)), said[[0, 0, 0]])
    first.save(tmp_path / "saved")
    assert torch.equal(load(tmp_path / "saved").text.encode(Texts(texts)), said[[0, 0, 0]])


@EACH
@pytest.mark.parametrize("model", [{}, {"projection": {"dim": 8}}], ids=["own", "new"])
def test_gradients_reach_both_and_the_temperature(make, model, tmp_path):
    pair = load(make(tmp_path / "hub"), **model).train()
    text, image = (
        side(inputs_of(side, items))
        for side, items in ((pair.text, Texts(TEXTS)), (pair.image, SOME))
    )
    pair.similarities(text, image).diagonal().sum().backward()
    assert [n for n, p in pair.named_parameters() if p.requires_grad and p.grad is None] == []
    assert pair.log_scale.grad != 0


def frozen(embedder):
    return {n for n, p in embedder.backbone.network.named_parameters() if not p.requires_grad}


def test_globs_are_over_the_paths_of_both(tmp_path):
    folder = clips.clip(tmp_path / "hub")
    pair = load(folder, freeze=["vision_model", "text_model.embeddings"]).train()
    assert frozen(pair.text) == {
        "embeddings.token_embedding.weight",
        "embeddings.position_embedding.weight",
    }
    assert pair.image.frozen == ("",)
    assert not pair.image.backbone.network.training
    assert pair.text.backbone.network.training
    only = load(folder, freezeAllBut=["text_model.encoder.layers.1"])
    assert all(not name.startswith("encoder.layers.1") for name in frozen(only.text))
    assert only.image.frozen == ("",)
    adapted = load(folder, lora={"targets": ["*.q_proj"]})
    for side in (adapted.text, adapted.image):
        trained = {n for n, p in side.backbone.network.named_parameters() if p.requires_grad}
        assert trained
        assert all("q_proj.lora_" in name for name in trained)
    with pytest.raises(BadSpec, match=r"spec.model.freeze: 'visual_model' matches .*vision_model"):
        load(folder, freeze=["visual_model"])


def test_adapters_are_merged_into_the_whole(tmp_path):
    pair = load(clips.clip(tmp_path / "hub"), lora={"rank": 2})
    with torch.no_grad():
        for name, parameter in pair.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    ours = embeddings(pair)
    pair.save(tmp_path / "saved")
    text, image, _ = in_transformers(tmp_path / "saved/clip")
    assert (ours[0] - text).abs().max() < 1e-4
    assert (ours[1] - image).abs().max() < 1e-4


@pytest.fixture
def two(tiny_backbone, tmp_path):
    folder = VISION_FAMILIES[0].save(tmp_path / "vit")

    def make(image_dim=8):
        text = Encoder.parse({"backbone": URI, "projection": {"dim": 8}})
        image = Encoder.parse({"backbone": URI, "projection": {"dim": image_dim}})
        return (
            load_encoder(Fetched("", tiny_backbone), text, 0),
            load_encoder(Fetched("", folder), image, 1),
        )

    return make


def test_any_two_encoders_are_a_pair(two, tmp_path):
    pair = build_pair(*two())
    assert pair.log_scale.exp().item() == pytest.approx(1 / 0.07)
    assert pair.bias is None
    pair.save(tmp_path / "saved")
    assert {p.name for p in (tmp_path / "saved").iterdir()} == {
        *("text", "image", "pair.json"),
        *("modules.json", "router_config.json", "config_sentence_transformers.json"),
    }
    again = load(tmp_path / "saved", freeze=["vision_model", "text_model.encoder.layer.0"])
    for one, other in zip(embeddings(again), embeddings(pair), strict=True):
        assert torch.equal(one, other)
    assert again.image.frozen == ("",)
    assert again.text.frozen == ("encoder.layer.0",)


def test_what_is_no_pair_is_said(two, tmp_path):
    with pytest.raises(BadSpec, match=r"text gives 8 dim.*image 9: .*projection\.dim"):
        build_pair(*two(9))
    text, image = two()
    with pytest.raises(BadSpec, match=r"spec.model.text: is an encoder of images, not of texts"):
        build_pair(image, text)
    folder = clips.siglip(tmp_path / "hub")
    for model, said in (
        ({"pooling": "mean"}, "spec.model.pooling: .*leave it at auto"),
        ({"cut": "text_model"}, "spec.model.cut: .*leave it at auto"),
        ({"maxSeqLength": 8}, "spec.model.maxSeqLength: SigLIP reads every text at 16 tokens"),
        ({"freeze": ["backbone"]}, "nothing is left to train"),
    ):
        with pytest.raises(BadSpec, match=said):
            load(folder, **model)
    with pytest.raises(BadSpec, match=r"is a pair of a text and an image encoder"):
        load_encoder(Fetched(URI, folder), Encoder.parse({"backbone": URI}), 0)
    (folder / "config.json").write_text('{"model_type": "blip"}')
    with pytest.raises(UnsupportedModel, match=r"blip cannot be taken apart .*clip, .*siglip2 can"):
        load(folder)
