"""Preprocessing beside the libraries whose backbones it serves, to one level of 0..255."""

import json

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision import models
from torchvision.models import get_weight
from torchvision.transforms import v2

from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.images.peers import (
    preprocessing_from_hub,
    preprocessing_from_timm,
    preprocessing_from_torchvision,
)
from embedtune_trainer.images.preprocess import fitted, normalised
from embedtune_trainer.images.preprocessing import Preprocessing
from tests.trainer.images.pictures import photo

SHAPES = [(320, 240), (90, 131), (640, 641)]
PICTURES = [photo(width, height, seed) for seed, (width, height) in enumerate(SHAPES)]


def ours(image: Image.Image, how: Preprocessing) -> torch.Tensor:
    levels_HW3 = torch.from_numpy(np.array(fitted(image, how)))
    return normalised(levels_HW3[None], how)[0]


def levels_apart(a: torch.Tensor, b: torch.Tensor, how: Preprocessing) -> float:
    """The largest difference, in levels of 0..255."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype == torch.float32
    return float(((a - b).abs() * torch.tensor(how.std).view(3, 1, 1) * 255).max())


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("image", PICTURES, ids=lambda image: f"{image.size}")
def test_equal_to_torchvisions_pipeline(image, interpolation):
    how = Preprocessing((96, 96), 110, interpolation)
    theirs = v2.Compose(
        [
            v2.Resize(110, v2.InterpolationMode(interpolation), antialias=True),
            v2.CenterCrop(96),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(how.mean, how.std),
        ]
    )
    torch.testing.assert_close(ours(image, how), theirs(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "weights",
    [
        "ResNet50_Weights.IMAGENET1K_V2",
        "EfficientNet_B1_Weights.IMAGENET1K_V2",
        "Swin_V2_T_Weights.DEFAULT",
        "MobileNet_V2_Weights.IMAGENET1K_V1",
    ],
)
@pytest.mark.parametrize("image", PICTURES, ids=lambda image: f"{image.size}")
def test_torchvisions_weights(image, weights):
    theirs = get_weight(weights).transforms()
    how = preprocessing_from_torchvision(theirs)
    torch.testing.assert_close(ours(image, how), theirs(image), atol=1e-5, rtol=0)


def test_torchvisions_other_tasks_are_refused():
    transforms = get_weight("FCN_ResNet50_Weights.DEFAULT").transforms()
    with pytest.raises(UnsupportedModel, match=r"torchvision's SemanticSegmentation; weights of"):
        preprocessing_from_torchvision(transforms)


@pytest.mark.parametrize(
    "name",
    [
        "tf_efficientnet_lite0.in1k",
        "resnet50.a1_in1k",
        "vit_base_patch16_clip_224.openai",
        "convnext_tiny.fb_in22k_ft_in1k_384",  # which squashes
        "vit_base_patch16_siglip_224.webli",
        "deepseek_vit_412m.deepseek_v4_flash_vision_exp",  # which adds borders
    ],
)
@pytest.mark.parametrize("image", PICTURES, ids=lambda image: f"{image.size}")
def test_timms_models(image, name):
    cfg = timm.get_pretrained_cfg(name).to_dict()
    theirs = create_transform(**resolve_data_config({}, pretrained_cfg=cfg), is_training=False)
    how = preprocessing_from_timm(cfg)
    torch.testing.assert_close(ours(image, how), theirs(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": (1, 28, 28)}, "input_size: 1 channels"),
        ({"crop_mode": "random"}, "crop_mode: random"),
        ({"interpolation": "random"}, "interpolation: random"),
        ({"mean": (0.5, 0.5)}, "means or deviations of 2 channels"),
    ],
)
def test_what_timm_does_otherwise_is_refused(change, message):
    with pytest.raises(UnsupportedModel, match=f"cannot be done: {message}"):
        preprocessing_from_timm({"input_size": (3, 224, 224), **change})


@pytest.mark.parametrize("crop_mode", ["squash", "border", "center"])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0])
@pytest.mark.parametrize("image", PICTURES, ids=lambda image: f"{image.size}")
def test_timms_modes_for_what_is_no_square(image, crop_pct, crop_mode):
    cfg = {"input_size": (3, 96, 64), "crop_pct": crop_pct, "crop_mode": crop_mode}
    theirs = create_transform(**resolve_data_config({}, pretrained_cfg=cfg), is_training=False)
    how = preprocessing_from_timm(cfg)
    torch.testing.assert_close(ours(image, how), theirs(image), atol=1e-5, rtol=0)
    assert Preprocessing.from_dict(json.loads(json.dumps(how.to_dict()))) == how


CLIP_MEAN = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
HUB = {
    "ViT": {"image_processor_type": "ViTImageProcessor", "size": {"height": 64, "width": 64}},
    "ViT of old": {"feature_extractor_type": "ViTFeatureExtractor", "size": 64, "resample": 2},
    "Swin": {"image_processor_type": "ViTImageProcessor", "size": 64, "resample": 3},
    "DeiT": {"image_processor_type": "DeiTImageProcessor"},
    "CLIP of old": {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "size": 64,
        "crop_size": 56,
        "resample": 3,
        **CLIP_MEAN,
    },
    "CLIP": {
        "image_processor_type": "CLIPImageProcessorFast",
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 64, "width": 64},
    },
    "ChineseCLIP": {"image_processor_type": "ChineseCLIPImageProcessor"},
    "SigLIP": {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": 64, "width": 64},
        "rescale_factor": 0.00392156862745098,
    },
    "ConvNext cropped": {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_pct": 0.875,
    },
    "ConvNext squashed": {"image_processor_type": "ConvNextImageProcessor", "size": 384},
    "DINOv2": {
        "image_processor_type": "BitImageProcessorPil",
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 56, "width": 56},
        "resample": 3,
    },
    "DINOv3": {"image_processor_type": "DINOv3ViTImageProcessorFast"},
    "BEiT": {"image_processor_type": "BeitImageProcessor"},
    "MobileNetV2": {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "size": {"shortest_edge": 72},
        "crop_size": {"height": 64, "width": 64},
    },
    "not normalised": {"image_processor_type": "ViTImageProcessor", "do_normalize": False},
    "to -1..1 by its factor": {
        "image_processor_type": "ViTImageProcessor",
        "rescale_factor": 1 / 127.5,
        "image_mean": [1, 1, 1],
        "image_std": [1, 1, 1],
    },
}


@pytest.mark.parametrize("family", HUB)
@pytest.mark.parametrize("image", PICTURES, ids=lambda image: f"{image.size}")
def test_hugging_face_processors(image, family):
    config = json.loads(json.dumps(HUB[family]))
    name = config.get("image_processor_type") or config["feature_extractor_type"]
    name = (
        name.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    )
    # Those that resample with Pillow, as the backbones were trained; DINOv3's has no such kind.
    theirs = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    expected = theirs(**config)(image, return_tensors="pt")["pixel_values"][0]
    how = preprocessing_from_hub(config)
    assert levels_apart(ours(image, how), expected, how) <= 1.01


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "a preprocessor_config.json without image_processor_type"),
        (
            {"image_processor_type": "DonutImageProcessor"},
            "the image processor DonutImageProcessor",
        ),
        ({**HUB["ViT"], "do_resize": False}, "do_resize: false"),
        ({**HUB["ViT"], "do_pad": True}, "do_pad: true"),
        ({**HUB["CLIP"], "do_center_crop": False}, "size: shortest_edge without a crop"),
        ({**HUB["CLIP"], "size": {"shortest_edge": 9, "longest_edge": 20}}, "size: "),
        ({**HUB["ViT"], "image_mean": [0.1, 0.2]}, "means or deviations of 2 channels"),
        ({**HUB["ViT"], "resample": 77}, "resample: 77|this ViTImageProcessor"),
    ],
)
def test_what_hugging_face_does_otherwise_is_refused(config, message):
    with pytest.raises(UnsupportedModel, match=f"cannot be done: ({message})"):
        preprocessing_from_hub(config)


def test_an_image_smaller_than_the_crop_gets_a_black_rim():
    how = Preprocessing((8, 8), 4, mean=(0, 0, 0), std=(1, 1, 1))
    levels_HW3 = np.asarray(fitted(Image.new("RGB", (4, 4), "white"), how))
    assert (levels_HW3[2:6, 2:6] == 255).all()
    assert levels_HW3.sum() == 16 * 3 * 255


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (3000, 10)])
def test_a_thin_line_does_not_fill_the_memory(size):
    """Resized as a whole it would have 256 x 25,600,000 pixels."""
    assert fitted(Image.new("RGB", size), Preprocessing()).size == (224, 224)


def test_the_middle_of_a_long_image_is_what_stays():
    image = Image.new("RGB", (4001, 41))
    image.paste((255, 255, 255), (1950, 0, 2051, 41))
    assert np.asarray(fitted(image, Preprocessing((32, 32), 32))).min() == 255


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Preprocessing(), Preprocessing((112, 112), 128)),
        (Preprocessing((224, 224), None), Preprocessing((112, 112), None)),
        (Preprocessing((224, 224), (256, 248)), Preprocessing((112, 112), (128, 124))),
    ],
)
def test_another_size_shows_the_same_part(how, expected):
    assert how.with_size(112) == expected


@pytest.mark.parametrize("resize", [256, None, (256, 250)])
def test_kept_as_json(resize):
    how = Preprocessing((224, 192), resize, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert Preprocessing.from_dict(json.loads(json.dumps(how.to_dict()))) == how


@pytest.mark.parametrize(
    "change", [{"interpolation": "magic"}, {"size": [224]}, {"mean": None}, {"std": [1, 2]}]
)
def test_other_json_is_refused(change):
    with pytest.raises(UnsupportedModel, match="not a preprocessing of images"):
        Preprocessing.from_dict({**Preprocessing().to_dict(), **change})


def test_every_classifier_of_torchvision():
    names = models.list_models(module=models)
    weights = [entry for name in names for entry in models.get_model_weights(name)]
    assert len(weights) > 100
    for entry in weights:
        how = preprocessing_from_torchvision(entry.transforms())
        assert how.size[0] == how.size[1] <= how.at_least


def test_every_model_of_timm():
    for name in timm.list_pretrained():
        cfg = timm.get_pretrained_cfg(name).to_dict()
        assert preprocessing_from_timm(cfg).size == tuple(cfg["input_size"][1:])
