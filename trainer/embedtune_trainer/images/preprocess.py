"""Decoded images to a backbone's input, to the last level as torchvision and timm evaluate.

The work is done by Pillow, through torchvision's transforms: those that backbones were measured
with. Pillow resamples with antialiasing, and does it outside of Python's lock.
"""

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode  # type: ignore[import-untyped]
from torchvision.transforms.v2 import functional  # type: ignore[import-untyped]

from embedtune_trainer.images.preprocessing import Preprocessing

LONGEST = 16
"""How many times longer than broad an image may be before its ends, which the crop drops anyway,
are cut off first: resized as a whole, a thin line would fill the memory."""


def fitted(image: Image.Image, how: Preprocessing) -> Image.Image:
    """The image resized and cropped to `how.size`.

    Args:
        image: RGB of any size. Where it is smaller than the crop, black is added around it, or the
            mean's colour if it is to be contained.
        how: the backbone's preprocessing.
    """
    target: list[int]
    if isinstance(how.resize, int) or how.fit == "cover":
        image = _without_ends(image)
    if isinstance(how.resize, int):
        target = [how.resize]
    elif how.resize is None or how.fit == "warp":
        target = list(how.resize or how.size)
    else:
        target = _in_ratio(image, how.resize, contained=how.fit == "contain")
    resized = functional.resize(image, target, interpolation_of(how), antialias=True)
    if how.fit == "contain":
        resized = _framed(resized, how)
    cropped: Image.Image = functional.center_crop(resized, list(how.size))
    return cropped


def interpolation_of(how: Preprocessing) -> InterpolationMode:
    """As torchvision calls it."""
    return InterpolationMode(how.interpolation)


def normalised(levels_BHW3: Tensor, how: Preprocessing) -> Tensor:
    """uint8 levels to what the backbone gets, on the levels' device.

    Args:
        levels_BHW3: uint8, 0 to 255.
        how: the backbone's preprocessing.

    Returns:
        (B, 3, H, W) float32: levels / 255, minus the mean, divided by the deviation.
    """
    mean_3, std_3 = (
        torch.tensor(x, dtype=torch.float32, device=levels_BHW3.device).view(3, 1, 1)
        for x in (how.mean, how.std)
    )
    x_B3HW = levels_BHW3.permute(0, 3, 1, 2).contiguous().float()
    return x_B3HW.mul_(1 / (255 * std_3)).sub_(mean_3 / std_3)


def _in_ratio(image: Image.Image, frame: tuple[int, int], *, contained: bool) -> list[int]:
    """Height and width with which the image just covers the frame, or is just contained in it."""
    height, width = image.height, image.width
    times = (height / frame[0], width / frame[1])
    divisor = max(times) if contained else min(times)
    return [max(1, round(height / divisor)), max(1, round(width / divisor))]


def _framed(image: Image.Image, how: Preprocessing) -> Image.Image:
    """The image in the middle of `how.size`, where it is smaller, with the mean's colour around."""
    height, width = (
        max(0, side - has) for side, has in zip(how.size, (image.height, image.width), strict=True)
    )
    around = [width // 2, height // 2, (width + 1) // 2, (height + 1) // 2]
    framed: Image.Image = functional.pad(image, around, fill=[round(255 * m) for m in how.mean])
    return framed


def _without_ends(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = LONGEST * min(width, height)
    if max(width, height) <= longest:
        return image
    middle: Image.Image = functional.center_crop(image, [min(height, longest), min(width, longest)])
    return middle
