"""SigLIP 2's images of any shape: patches as transformers makes them, padded and masked."""

import io

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from torch.nn.functional import normalize

from embedtune_api.spec import Model
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.embedder.pair import load_pair, load_side
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.images.augment import OF_CLASSES
from embedtune_trainer.inspection import inspect_model
from embedtune_trainer.rows.table import Images
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.hub import clips

URI = "hf://org/siglip2"
SHAPES = ((40, 40), (90, 30), (17, 64), (200, 21), (8, 8))


def pictures():
    chance = np.random.default_rng(0)
    return [Image.fromarray(chance.integers(0, 256, (y, x, 3), dtype=np.uint8)) for y, x in SHAPES]


def images():
    values = []
    for picture in pictures():
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        values.append(stream.getvalue())
    return Images(values, [f"image {i}" for i in range(len(values))])


def load(folder, **model):
    given = {"backbone": URI, "task": "image-to-image", **model}
    return load_side(Fetched(URI, folder), Model.parse(given), 0)


def patches_of(embedder, variation=None):
    processor, some = embedder.processor, images()
    numbers = np.arange(len(some))
    return processor.batch(processor.table(some), numbers, torch.device("cpu"), variation)


@pytest.fixture
def folder(tmp_path):
    return clips.siglip2(tmp_path / "hub")


def in_transformers(folder):
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    inputs = processor(pictures(), return_tensors="pt")
    with torch.no_grad():
        out = hf.AutoModel.from_pretrained(folder).eval().get_image_features(**inputs)
    return inputs, out


def test_patches_and_embeddings_as_in_transformers(folder):
    embedder = load(folder)
    inputs, out = in_transformers(folder)
    ours = patches_of(embedder)
    assert ours.grids_B2.tolist() == inputs["spatial_shapes"].tolist()
    longest = ours.mask_BN.shape[1]
    assert len({tuple(grid) for grid in ours.grids_B2.tolist()}) > 2
    assert torch.equal(ours.mask_BN, inputs["pixel_attention_mask"][:, :longest].long())
    there = ours.mask_BN.bool()
    values = inputs["pixel_values"][:, :longest]
    assert (ours.values_BNP[there] - values[there]).abs().max() < 1e-5
    assert (embedder.encode(images()) - normalize(out.pooler_output)).abs().max() < 1e-5


def test_an_image_embeds_alike_in_any_batch(folder):
    embedder = load(folder)
    together = embedder.encode(images())
    alone = embedder.encode(images(), batch_size=1)
    assert (together - alone).abs().max() < 1e-6


def test_other_poolings_leave_the_padding_out(folder, tmp_path):
    embedder = load(folder, pooling="mean")
    inputs, out = in_transformers(folder)
    mask_BN1 = inputs["pixel_attention_mask"].unsqueeze(-1)
    mean = (out.last_hidden_state * mask_BN1).sum(1) / mask_BN1.sum(1)
    ours = embedder.encode(images())
    assert (ours - normalize(mean)).abs().max() < 1e-5
    embedder.save(tmp_path / "saved")
    plain = Model.parse({"backbone": URI, "task": "auto"}).encoder
    again = load_encoder(Fetched(URI, tmp_path / "saved"), plain, 0)
    assert torch.equal(again.encode(images()), ours)


def test_an_image_size_is_a_number_of_patches(folder, tmp_path):
    embedder = load(folder, imageSize=48)
    assert patches_of(embedder).mask_BN.shape[1] in range(17, 37)
    pair = load_pair(Fetched(URI, folder), Model.parse({"backbone": URI, "imageSize": 48}), 0)
    pair.save(tmp_path / "saved")
    again = load_pair(Fetched(URI, tmp_path / "saved"), Model.parse({"backbone": URI}), 0)
    assert torch.equal(again.image.encode(images()), embedder.encode(images()))


def test_variations_keep_to_the_images_shape(folder):
    embedder = load(folder)
    plain = patches_of(embedder)
    embedder.processor.augmentation = OF_CLASSES
    one, same, other = (patches_of(embedder, variation) for variation in (1, 1, 2))
    assert torch.equal(one.grids_B2, plain.grids_B2)
    assert torch.equal(one.values_BNP, same.values_BNP)
    assert not torch.equal(one.values_BNP, other.values_BNP)


def test_what_cannot_be_done_is_said(folder):
    for model, said in (
        ({"cut": "encoder.layers.0"}, "spec.model.cut: a SigLIP 2 for images of any shape"),
        ({"pooling": "cls"}, "spec.model.pooling: cls is not for the tokens of an image"),
    ):
        with pytest.raises(BadSpec, match=said):
            load(folder, **model)
    path = folder / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"patch_size": 8', '"patch_size": 16'))
    with pytest.raises(UnsupportedModel, match=r"hub/preprocessor_config.json: .*patches of 8"):
        load(folder)
    path.unlink()
    with pytest.raises(UnsupportedModel, match=r"no preprocessor_config.json"):
        load(folder)


def test_inspect_says_what_training_makes(folder):
    model = Model.parse({"backbone": URI, "task": "image-to-image", "pooling": "mean"})
    said = inspect_model(model, {URI: Fetched(URI, folder)})["image"]
    embedder = load(folder, pooling="mean")
    assert said.takes == "images of any shape"
    assert (said.pooling, said.embedding_dim) == ("mean", embedder.embedding_dim)
    assert said.trained == sum(p.numel() for p in embedder.parameters() if p.requires_grad)
    assert "vision_model.embeddings.patch_embedding" in {row.path for row in said.rows}
