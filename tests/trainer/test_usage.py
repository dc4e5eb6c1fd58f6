"""The lines of a model's card that load it and embed with it, run as they stand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedtune_api.spec import Encoder, Model
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.embedder.pair import build_pair, load_pair
from embedtune_trainer.sources.fetch import Fetched
from embedtune_trainer.usage import Kind, kind_of, loading, using
from tests.trainer.embedder import visionnets
from tests.trainer.hub import clips
from tests.trainer.hub.vision_families import VISION_FAMILIES

PROJECTION = {"projection": {"dim": 8}}


def encoder(uri, folder, **spec):
    given = Encoder.parse({"backbone": uri, **spec, **PROJECTION})
    return load_encoder(Fetched(uri, folder), given, 0)


def text(tmp_path, tiny_backbone):
    return encoder("s3://bases/tiny", tiny_backbone)


def text_with_gem(tmp_path, tiny_backbone):
    return encoder("s3://bases/tiny", tiny_backbone, pooling="gem")


def of_a_library(tmp_path, tiny_backbone):
    weights = visionnets.write_weights("torchvision://resnet18", tmp_path)
    return visionnets.load("torchvision://resnet18", weights, imageSize=64, **PROJECTION)


def of_the_hub(tmp_path, tiny_backbone):
    return encoder("s3://bases/vit", VISION_FAMILIES[0].save(tmp_path / "vit"))


def vectors(tmp_path, tiny_backbone):
    return encoder("mlp://5", None)


def clip(tmp_path, tiny_backbone, make=clips.clip):
    fetched = Fetched("s3://bases/clip", make(tmp_path / "clip"))
    return load_pair(fetched, Model.parse({"backbone": "s3://bases/clip", **PROJECTION}), 0)


def siglip(tmp_path, tiny_backbone):
    return clip(tmp_path, tiny_backbone, clips.siglip)


def two(tmp_path, tiny_backbone):
    return build_pair(text(tmp_path, tiny_backbone), of_the_hub(tmp_path, tiny_backbone))


@pytest.mark.parametrize(
    ("make", "kind", "name"),
    [
        (text, Kind("text", plain=True), "embeddings"),
        (text_with_gem, Kind("text"), "embeddings"),
        (of_a_library, Kind("image"), "embeddings"),
        (of_the_hub, Kind("image", plain=True), "embeddings"),
        (vectors, Kind("vector"), "embeddings"),
        (clip, Kind("pair", plain=True), "similarities_NM"),
        (siglip, Kind("pair"), "similarities_NM"),
        (two, Kind("pair", plain=True), "similarities_NM"),
    ],
)
def test_the_lines_of_the_card(make, kind, name, tmp_path, tiny_backbone, monkeypatch):
    make(tmp_path, tiny_backbone).save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    for picture in ("one.jpg", "two.jpg"):
        Image.effect_noise((70, 90), 40).convert("RGB").save(picture)
    np.save("rows.npy", np.ones((2, 5), np.float32))
    assert kind_of(Path("model")) == kind
    code = using("model", kind)
    assert all(line in code.splitlines() for line in loading("model", kind))
    made: dict[str, object] = {}
    exec(code, made)
    assert np.asarray(made[name]).shape == ((2, 2) if kind.items == "pair" else (2, 8))
