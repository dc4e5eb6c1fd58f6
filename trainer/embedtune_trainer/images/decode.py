"""Encoded image files to RGB, whatever their mode: by Pillow, and refused where that is unsafe."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from embedtune_trainer.errors import BadData
from embedtune_trainer.rows.table import FileSlice

PIXEL_LIMIT = 178_956_970
"""Pixels of an image after which it is refused; Pillow's own limit, 512 MiB as RGB."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What is read. Pillow's other plugins are for rare formats, and some call other programs."""

READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF and JPEG 2000 are read"
SPARE = 2
"""An image is never shrunk, while being decoded, to less than this times what is asked for, so
that the resampling afterwards has enough to choose from."""


def decode(value: Path | FileSlice | bytes, name: str, *, at_least: int | None) -> Image.Image:
    """The image in RGB, 8 bits a channel, the way up that its EXIF orientation says.

    What is transparent becomes white. 16-bit greys are scaled. Of an animation the first frame
    is taken. Colour profiles are not applied, as no peer applies them.

    Args:
        value: the encoded image, or where it is.
        name: what messages call it.
        at_least: the shorter side's length in pixels that is needed; larger images may come
            shrunk, but not to less than twice that. None: as large as it is.

    Raises:
        BadData: it cannot be read, is not an image, is broken, or has too many pixels.
    """
    data = _read(value, name)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(image, name)
            if at_least is not None:
                image.draft(None, (SPARE * at_least, SPARE * at_least))
            image.load()
            return _on_white(_shrunk(_colours(_upright(image), image.format, name), at_least))
    except BadData:
        raise
    except UnidentifiedImageError:
        raise BadData(f"{name}: not an image that can be read, {_seen(data)}; {READABLE}") from None
    except Image.DecompressionBombError:
        raise BadData(_too_large(name)) from None
    except Exception as error:  # Pillow's decoders meet broken files with errors of every kind
        raise BadData(
            f"{name}: a broken image ({error}); replace the file, or remove the row"
        ) from error


def _read(value: Path | FileSlice | bytes, name: str) -> bytes:
    """The encoded image's bytes."""
    if isinstance(value, bytes):
        data = value
    else:
        try:
            data = _read_file(value)
        except OSError as error:
            raise BadData(f"{name}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise BadData(f"{name}: the image is empty (0 bytes); replace the file, or remove the row")
    return data


def _read_file(value: Path | FileSlice) -> bytes:
    if isinstance(value, Path):
        return value.read_bytes()
    with value.path.open("rb") as stream:
        stream.seek(value.offset)
        return stream.read(value.size)


def _check_size(image: Image.Image, name: str) -> None:
    """Refuses an image before its pixels take up memory."""
    if image.width * image.height > PIXEL_LIMIT:
        raise BadData(_too_large(name, f"{image.width} x {image.height} pixels, "))


def _too_large(name: str, what: str = "") -> str:
    return (
        f"{name}: {what}more than the {PIXEL_LIMIT} pixels that an image may have; shrink it,"
        " or remove the row"
    )


def _seen(data: bytes) -> str:
    """What the file starts with, for people who find a web page where an image should be."""
    return f"it has {len(data)} bytes and starts with {data[:12]!r}"


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; as it is if the EXIF block is broken."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, KeyError, struct.error):  # Pillow's, for a bad TIFF header
        return image


def _colours(image: Image.Image, file_format: str | None, name: str) -> Image.Image:
    """RGB, or RGBA where something is transparent, 8 bits a channel."""
    if image.mode.startswith("I;16"):
        return _sixteen_bits(np.asarray(image), image.info.get("transparency"))
    if image.mode == "I" and file_format == "PPM":  # which Pillow scales to 16 bits
        return _sixteen_bits(np.asarray(image), None)
    if image.mode in ("I", "F"):
        raise BadData(
            f"{name}: its pixels are 32-bit numbers, of which nobody can tell which is white;"
            " save it with 8 or 16 bits a channel"
        )
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _sixteen_bits(grey_HW: NDArray[np.integer], transparent: int | None) -> Image.Image:
    """RGB of 16-bit greys: 65535 becomes 255, where clipping would make most of it white."""
    eight_HW = ((grey_HW.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if transparent is not None:
        eight_HW[grey_HW == transparent] = 255
    return Image.fromarray(eight_HW).convert("RGB")


def _shrunk(image: Image.Image, at_least: int | None) -> Image.Image:
    """Brought near what is asked for, if it is more than twice as large as need be."""
    shorter = min(image.size)
    if at_least is None or shorter < 2 * SPARE * at_least:
        return image
    width, height = (round(side * SPARE * at_least / shorter) for side in image.size)
    return image.resize((width, height), Image.Resampling.HAMMING, reducing_gap=2.0)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
