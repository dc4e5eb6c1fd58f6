"""The preprocessing of backbones as their libraries write it down."""

from collections.abc import Mapping
from math import floor
from typing import Any, Final

from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.images.preprocessing import (
    INTERPOLATIONS,
    Fit,
    Interpolation,
    Preprocessing,
)

PILLOW_CODES: Final[dict[int, Interpolation]] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}
"""Pillow's resampling filters by their numbers, which Hugging Face's configurations hold."""

HUB_CLASSES: Final = frozenset(
    f"{family}ImageProcessor"
    for family in (
        "Beit",
        "Bit",
        "CLIP",
        "ChineseCLIP",
        "ConvNext",
        "DINOv3ViT",
        "DeiT",
        "MobileNetV1",
        "MobileNetV2",
        "Siglip",
        "ViT",
    )
)
"""Image processors of transformers that do what a Preprocessing says and nothing else."""

TIMM_FITS: Final[dict[str, Fit]] = {"squash": "warp", "center": "cover", "border": "contain"}
"""timm's crop modes; where a square is cropped, cover is the shorter side's length."""

WARPS_FROM = 384
"""ConvNext's processor crops below this size and distorts from it on."""


def preprocessing_from_hub(config: Mapping[str, Any]) -> Preprocessing:
    """Of a preprocessor_config.json. What it leaves out is as its class has it in transformers.

    Raises:
        UnsupportedModel: it does something that a Preprocessing cannot say.
    """
    import transformers

    name = _class_name(config)
    if name not in HUB_CLASSES:
        raise _unsupported(f"the image processor {name}; {', '.join(sorted(HUB_CLASSES))} can be")
    try:
        known: dict[str, Any] = getattr(transformers, name)(**config).to_dict()
    except (TypeError, ValueError) as error:
        raise _unsupported(f"this {name}: {error}") from error
    if not known.get("do_resize"):
        raise _unsupported("do_resize: false, since the images of a batch must have one size")
    if known.get("do_pad"):
        raise _unsupported("do_pad: true")
    size, resize = _convnext(known) if name.startswith("ConvNext") else _hub_sizes(known)
    mean, std = _hub_scaling(known)
    code = int(known["resample"])
    if code not in PILLOW_CODES:
        raise _unsupported(f"resample: {code}")
    return Preprocessing(size, resize, PILLOW_CODES[code], mean, std)


def preprocessing_from_timm(pretrained_cfg: Mapping[str, Any]) -> Preprocessing:
    """Of a timm model's pretrained_cfg (or the one in a hub folder's config.json), for evaluation.

    Raises:
        UnsupportedModel: it does something that a Preprocessing cannot say.
    """
    from timm.data.config import resolve_data_config

    known: dict[str, Any] = resolve_data_config({}, pretrained_cfg=dict(pretrained_cfg))  # type: ignore[no-untyped-call]
    channels, *size = known["input_size"]
    if channels != 3:
        raise _unsupported(f"input_size: {channels} channels, where images have 3")
    scaled = (floor(size[0] / known["crop_pct"]), floor(size[1] / known["crop_pct"]))
    if known["crop_mode"] not in TIMM_FITS:
        raise _unsupported(f"crop_mode: {known['crop_mode']}")
    square = known["crop_mode"] == "center" and scaled[0] == scaled[1]
    if known["interpolation"] not in INTERPOLATIONS:
        raise _unsupported(f"interpolation: {known['interpolation']}")
    return Preprocessing(
        (size[0], size[1]),
        scaled[0] if square else scaled,
        known["interpolation"],
        _three(known["mean"]),
        _three(known["std"]),
        "warp" if square else TIMM_FITS[known["crop_mode"]],
    )


def preprocessing_from_torchvision(transforms: Any) -> Preprocessing:  # noqa: ANN401  not public
    """Of torchvision's weights: `weights.transforms()`.

    Raises:
        UnsupportedModel: they are not those of a classifier of images.
    """
    from torchvision.transforms._presets import (  # type: ignore[import-untyped]
        ImageClassification,
    )

    if not isinstance(transforms, ImageClassification):
        raise _unsupported(
            f"torchvision's {type(transforms).__name__}; weights of classifiers can be"
        )
    (side,), (resize,) = transforms.crop_size, transforms.resize_size
    interpolation = transforms.interpolation.value
    if interpolation not in INTERPOLATIONS:
        raise _unsupported(f"interpolation: {interpolation}")
    return Preprocessing(
        (side, side), resize, interpolation, _three(transforms.mean), _three(transforms.std)
    )


def _class_name(config: Mapping[str, Any]) -> str:
    """The class in transformers 5, whatever it was called when the backbone was saved."""
    name = config.get("image_processor_type") or config.get("feature_extractor_type")
    if not name:
        raise _unsupported("a preprocessor_config.json without image_processor_type")
    plain = str(name).removesuffix("Fast").removesuffix("Pil")
    return plain.replace("FeatureExtractor", "ImageProcessor")


def _hub_sizes(known: Mapping[str, Any]) -> tuple[tuple[int, int], int | tuple[int, int] | None]:
    """Size and resize of a processor with `size` and, perhaps, a crop."""
    size, crop = known["size"], known.get("crop_size")
    resize: int | tuple[int, int]
    if set(size) == {"shortest_edge"}:
        resize = int(size["shortest_edge"])
    elif set(size) == {"height", "width"}:
        resize = (int(size["height"]), int(size["width"]))
    else:
        raise _unsupported(f"size: {dict(size)}")
    if known.get("do_center_crop"):
        if not crop or set(crop) != {"height", "width"}:
            raise _unsupported(f"crop_size: {crop}")
        return (int(crop["height"]), int(crop["width"])), resize
    if isinstance(resize, int):
        raise _unsupported("size: shortest_edge without a crop, since images differ in their shape")
    return resize, None


def _convnext(known: Mapping[str, Any]) -> tuple[tuple[int, int], int | None]:
    """ConvNext's own rule; its `size` is what the network gets, and crop_pct says the rest."""
    if set(known["size"]) != {"shortest_edge"} or known.get("do_center_crop"):
        raise _unsupported(f"a ConvNext processor with size: {dict(known['size'])} or a crop")
    side = int(known["size"]["shortest_edge"])
    return (side, side), None if side >= WARPS_FROM else int(side / known["crop_pct"])


def _hub_scaling(
    known: Mapping[str, Any],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation for levels in 0..1, whatever the processor scales levels to."""
    unit = 255 * known["rescale_factor"] if known.get("do_rescale") else 255.0
    normalises = known.get("do_normalize")
    mean = _three(known["image_mean"] if normalises else (0, 0, 0))
    std = _three(known["image_std"] if normalises else (1, 1, 1))
    return _divided(mean, unit), _divided(std, unit)


def _divided(values: tuple[float, float, float], by: float) -> tuple[float, float, float]:
    return values[0] / by, values[1] / by, values[2] / by


def _three(values: Any) -> tuple[float, float, float]:  # noqa: ANN401  from a configuration
    """Of each channel; one number stands for all."""
    if isinstance(values, int | float):
        values = [values]
    found = [float(x) for x in values]
    if len(found) == 1:
        found = found * 3
    if len(found) != 3:
        raise _unsupported(f"means or deviations of {len(found)} channels, where images have 3")
    return found[0], found[1], found[2]


def _unsupported(what: str) -> UnsupportedModel:
    return UnsupportedModel(f"the backbone's preprocessing of images cannot be done: {what}")
