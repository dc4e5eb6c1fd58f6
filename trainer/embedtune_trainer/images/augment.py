"""Images varied from epoch to epoch, the same for the same seed whoever makes them and when."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional  # type: ignore[import-untyped]

from embedtune_trainer.images.preprocess import interpolation_of
from embedtune_trainer.images.preprocessing import Preprocessing

ATTEMPTS = 10
"""Crops that are drawn until one lies within the image, as in torchvision's RandomResizedCrop."""


@dataclass(frozen=True)
class Augmentation:
    """What is drawn for each image: a crop, brought to the backbone's size, a flip, its colours.

    The defaults are for images of one class that are to lie close together. They are milder than
    those that classifiers and self-supervised models are trained with (crops of 8 % of the image
    on, strong jitter): a pre-trained backbone is tuned for a few epochs, what tells classes apart
    must stay in the picture, and colour often is part of it. Half of the area is the least that a
    crop has, so two crops of one image always overlap, where of 8 % they seldom do. Hue stays as
    it is.

    Attributes:
        scale: least and greatest area of the crop, as a share of the image's.
        ratio: least and greatest width divided by height of the crop, before it is resized.
        flip: probability of being mirrored, left to right.
        brightness: the factor is drawn from 1 - this to 1 + this; so it is for the others.
        contrast: as brightness.
        saturation: as brightness.
    """

    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2


OF_CLASSES = Augmentation()
"""For images with labels."""

OF_CAPTIONED = Augmentation(scale=(0.9, 1.0), flip=0.0, brightness=0, contrast=0, saturation=0)
"""For images with texts, as open_clip trains: a caption tells left from right, may quote what is
written in the picture, and names colours and what stands at the rim."""


def generator_of(variation: int, item: int) -> torch.Generator:
    """Draws for one item of one epoch: they depend on these two numbers alone."""
    seed = np.random.SeedSequence((variation, item)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed))


def varied(
    image: Image.Image, how: Preprocessing, augmentation: Augmentation, chance: torch.Generator
) -> Image.Image:
    """The image cropped, flipped and coloured at random, of `how.size`.

    Args:
        image: RGB of any size.
        how: the backbone's preprocessing, whose size and interpolation hold; its crop does not.
        augmentation: what is drawn.
        chance: what it is drawn from.
    """
    top, left, height, width = _crop(image, augmentation, chance)
    out: Image.Image = functional.resized_crop(
        image, top, left, height, width, list(how.size), interpolation_of(how), antialias=True
    )
    flip, brightness, contrast, saturation = torch.rand(4, generator=chance).tolist()
    if flip < augmentation.flip:
        out = functional.horizontal_flip(out)
    for drawn, strength, adjust in (
        (brightness, augmentation.brightness, functional.adjust_brightness),
        (contrast, augmentation.contrast, functional.adjust_contrast),
        (saturation, augmentation.saturation, functional.adjust_saturation),
    ):
        if strength:
            out = adjust(out, 1 + strength * (2 * drawn - 1))
    return out


def _crop(
    image: Image.Image, augmentation: Augmentation, chance: torch.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width; drawn as torchvision's RandomResizedCrop draws them."""
    low, high = map(math.log, augmentation.ratio)
    for _ in range(ATTEMPTS):
        share, log_ratio, down, right = torch.rand(
            4, generator=chance, dtype=torch.float64
        ).tolist()
        least, greatest = augmentation.scale
        area = image.width * image.height * (least + share * (greatest - least))
        ratio = math.exp(low + log_ratio * (high - low))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= image.width and 0 < height <= image.height:
            top, left = (
                int(down * (image.height - height + 1)),
                int(right * (image.width - width + 1)),
            )
            return top, left, height, width
    return _middle(image, augmentation.ratio)


def _middle(image: Image.Image, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """The largest part in the middle whose ratio is allowed, for images that are very long."""
    width = min(image.width, max(1, round(image.height * ratio[1])))
    height = min(image.height, max(1, round(image.width / ratio[0])))
    return (image.height - height) // 2, (image.width - width) // 2, height, width
