"""Small images made by the tests."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    stream = BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth coloured noise, like a photograph in that neighbouring pixels are alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def largest_difference(a: Image.Image, b: Image.Image) -> int:
    """In levels of 0..255, over all pixels and channels."""
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())
