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
        image: RGB of any size. Where it is smaller than the crop, black is added around it.
        how: the backbone's preprocessing.
    """
    target: list[int]
    if isinstance(how.resize, int):
        image = _without_ends(image)
        target = [how.resize]
    else:
        target = list(how.size if how.resize is None else how.resize)
    resized = functional.resize(image, target, interpolation_of(how), antialias=True)
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


def _without_ends(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = LONGEST * min(width, height)
    if max(width, height) <= longest:
        return image
    middle: Image.Image = functional.center_crop(image, [min(height, longest), min(width, longest)])
    return middle
