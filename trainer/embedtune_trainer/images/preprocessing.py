"""How an image becomes the numbers that a backbone was trained on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from embedtune_trainer.errors import UnsupportedModel

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]

INTERPOLATIONS: dict[str, Interpolation] = {name: name for name in get_args(Interpolation)}
Fit = Literal["warp", "cover", "contain"]
FITS: dict[str, Fit] = {name: name for name in get_args(Fit)}

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop in the middle, scale to 0..1, subtract the mean, divide by the deviation.

    Attributes:
        size: height and width of what the backbone gets, in pixels.
        resize: the shorter side's length before the crop, the aspect ratio being kept; or height
            and width before the crop, see `fit`; None brings the image to `size` without regard to
            its aspect ratio.
        interpolation: of the resize, with antialiasing.
        mean: of red, green and blue in 0..1.
        std: of red, green and blue in 0..1.
        fit: how the image is brought to the height and width of `resize`: warp changes its aspect
            ratio, cover lets it reach over them, contain lets it end within them, and what is
            missing around it has the colour of `mean`.
    """

    size: tuple[int, int] = (224, 224)
    resize: int | tuple[int, int] | None = 256
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    fit: Fit = "warp"

    @property
    def at_least(self) -> int:
        """The shorter side that an image should have, in pixels, to be worth what is made of it."""
        return max(*self.size, *_sides(self.resize))

    def with_size(self, side: int) -> "Preprocessing":
        """For a square of this side in pixels; the part of the image that is seen stays."""
        return replace(
            self,
            size=(side, side),
            resize=_scaled(self.resize, side / self.size[0], side / self.size[1]),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; from_dict takes it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """What to_dict gave, also after it was JSON.

        Raises:
            UnsupportedModel: it is something else.
        """
        try:
            resize = values["resize"]
            return cls(
                _two(values["size"]),
                resize if resize is None or isinstance(resize, int) else _two(resize),
                INTERPOLATIONS[values["interpolation"]],
                _three(values["mean"]),
                _three(values["std"]),
                FITS[values.get("fit", "warp")],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnsupportedModel(f"not a preprocessing of images: {dict(values)}") from error


def _sides(resize: int | tuple[int, int] | None) -> tuple[int, ...]:
    if resize is None:
        return ()
    return (resize,) if isinstance(resize, int) else resize


def _scaled(
    resize: int | tuple[int, int] | None, by_height: float, by_width: float
) -> int | tuple[int, int] | None:
    if resize is None:
        return None
    if isinstance(resize, int):
        return round(resize * max(by_height, by_width))
    return round(resize[0] * by_height), round(resize[1] * by_width)


def _two(values: Any) -> tuple[int, int]:  # noqa: ANN401  from JSON
    height, width = values
    return int(height), int(width)


def _three(values: Any) -> tuple[float, float, float]:  # noqa: ANN401  from JSON
    red, green, blue = values
    return float(red), float(green), float(blue)
