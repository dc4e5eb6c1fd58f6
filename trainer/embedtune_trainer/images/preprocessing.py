"""How an image becomes the numbers that a backbone was trained on."""

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop in the middle, scale to 0..1, subtract the mean, divide by the deviation.

    Attributes:
        size: height and width of what the backbone gets, in pixels.
        resize: the shorter side's length before the crop, the aspect ratio being kept; None
            brings the image to `size` without regard to it.
        interpolation: of the resize, with antialiasing.
        mean: of red, green and blue in 0..1.
        std: of red, green and blue in 0..1.
    """

    size: tuple[int, int] = (224, 224)
    resize: int | None = 256
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
