"""Image files of every mode and every kind of damage."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedtune_trainer.errors import BadData
from embedtune_trainer.images.decode import PIXEL_LIMIT, decode
from embedtune_trainer.rows.table import FileSlice
from tests.trainer.images.pictures import encoded, largest_difference, photo

RED, WHITE = (255, 0, 0), (255, 255, 255)


def pixels(data: bytes) -> np.ndarray:
    image = decode(data, "x", at_least=None)
    assert image.mode == "RGB"
    return np.asarray(image)


def half_transparent(mode: str) -> Image.Image:
    """Left: opaque red, or grey 76 in grey modes; right: transparent black."""
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 4, 4))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "left"), [("RGBA", RED), ("LA", (76, 76, 76))], ids=["RGBA", "LA"]
)
def test_what_is_transparent_is_white(mode, left):
    found_HWC = pixels(encoded(half_transparent(mode)))
    assert tuple(found_HWC[0, 0]) == left
    assert tuple(found_HWC[0, 7]) == WHITE


def test_half_transparent_is_half_white():
    found_HWC = pixels(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128))))
    assert found_HWC.min() == found_HWC.max() == 127


def test_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image)).tolist() == [[list(RED), [0, 0, 255]]]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"], ids=["an index", "an alpha for each"])
def test_palette_with_transparency(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image, transparency=transparency)).tolist() == [[list(RED), list(WHITE)]]


@pytest.mark.parametrize(("mode", "transparent"), [("L", 9), ("RGB", (9, 9, 9))])
def test_a_colour_that_stands_for_transparent(mode, transparent):
    image = Image.new(mode, (2, 1))
    image.putpixel((1, 0), transparent)
    found_HWC = pixels(encoded(image, transparency=transparent))
    assert found_HWC.tolist() == [[[0, 0, 0], list(WHITE)]]


@pytest.mark.parametrize(("mode", "black"), [("L", 0), ("1", 0)])
def test_grey_and_black_and_white(mode, black):
    image = Image.new(mode, (2, 1), black)
    image.putpixel((1, 0), 255)
    assert pixels(encoded(image)).tolist() == [[[0, 0, 0], list(WHITE)]]


def test_cmyk():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    found_HWC = pixels(encoded(image, "JPEG", quality=95))
    assert np.abs(found_HWC.astype(int) - RED).max() <= 3


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_are_scaled_not_clipped(file_format):
    levels_HW = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    found_HWC = pixels(encoded(Image.fromarray(levels_HW), file_format))
    assert (found_HWC == (levels_HW // 257)[..., None]).all()


def test_sixteen_bits_with_a_level_that_stands_for_transparent():
    image = Image.fromarray(np.array([[0, 1000]], dtype=np.uint16))
    data = with_chunk(encoded(image), b"tRNS", struct.pack(">H", 1000))
    assert pixels(data).tolist() == [[[0, 0, 0], list(WHITE)]]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused(mode):
    with pytest.raises(BadData, match=r"^row 7: its pixels are 32-bit .*save it with 8 or 16"):
        decode(encoded(Image.new(mode, (2, 2), 3), "TIFF"), "row 7", at_least=None)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_orientation(file_format, orientation):
    """The picture is 40 x 20 with a red upper left quarter; each file stores it turned."""
    upright = Image.new("RGB", (40, 20), WHITE)
    upright.paste(RED, (0, 0, 20, 10))
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = upright if stored is None else upright.transpose(stored)
    found_HWC = pixels(encoded(turned, file_format, exif=exif))
    assert found_HWC.shape == (20, 40, 3)
    reds_HW = found_HWC[..., 1] < 128
    assert reds_HW[:9, :19].all()
    assert not reds_HW[:, 21:].any()
    assert not reds_HW[11:].any()


def test_a_broken_exif_block_does_not_cost_the_image():
    data = encoded(photo(20, 10), exif=b"Exif\0\0garbage")
    assert decode(data, "x", at_least=None).size == (20, 10)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(file_format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert (pixels(data) == RED).all()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_shrunk_while_decoding(file_format):
    """Still twice as large as asked for, and what is then made of it is the same picture."""
    data = encoded(photo(1600, 1200), file_format, quality=95)
    small = decode(data, "x", at_least=64)
    assert small.size == ((200, 150) if file_format == "JPEG" else (171, 128))
    whole = decode(data, "x", at_least=None)
    assert whole.size == (1600, 1200)
    assert largest_difference(small.resize((64, 48)), whole.resize((64, 48))) <= 3


def test_the_colour_under_what_is_transparent_does_not_bleed_when_shrunk():
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 201, 400))
    found_HWC = np.asarray(decode(encoded(image), "x", at_least=20))
    assert found_HWC.shape == (40, 40, 3)
    assert found_HWC[..., 0].min() == 255


def test_a_part_of_a_file(tmp_path: Path):
    data = encoded(Image.new("RGB", (3, 2), RED))
    path = tmp_path / "archive"
    path.write_bytes(b"before" + data + b"after")
    image = decode(FileSlice(path, 6, len(data)), "x", at_least=None)
    assert (np.asarray(image) == RED).all()


def test_a_path(tmp_path: Path):
    path = tmp_path / "x.png"
    path.write_bytes(encoded(Image.new("RGB", (3, 2), RED)))
    assert decode(path, "x", at_least=None).size == (3, 2)
    with pytest.raises(BadData, match=r"^row 7: cannot be read: No such file or directory$"):
        decode(tmp_path / "y.png", "row 7", at_least=None)


def test_a_decompression_bomb_is_refused_before_it_takes_up_memory():
    """A PNG of a few bytes whose header says 20,000 x 20,000."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(BadData, match=rf"^row 7: .*more than the {PIXEL_LIMIT} pixels.*shrink it"):
        decode(data, "row 7", at_least=64)


def test_text_chunks_that_unpack_to_much_are_refused():
    text = b"k\0\0" + zlib.compress(b"a" * 200_000_000, 9)
    data = with_chunk(encoded(photo(4, 4)), b"zTXt", text)
    with pytest.raises(BadData, match=r"^row 7: a broken image"):
        decode(data, "row 7", at_least=None)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of broken TIFFs
def test_a_truncated_file_is_refused_wherever_it_ends(file_format):
    data = encoded(photo(40, 30), file_format)
    for share in (0.02, 0.1, 0.3, 0.5, 0.8):
        with pytest.raises(BadData, match=r"^row 7: .*(remove the row|are read)"):
            decode(data[: int(share * len(data))], "row 7", at_least=None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"empty \(0 bytes\); replace the file, or remove the row"),
        (b"<!DOCTYPE html><p>Sorry", r"not an image that can be read.*b'<!DOCTYPE ht'; JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not an image that can be read"),
    ],
    ids=["empty", "web page", "EPS, for which Pillow would call Ghostscript"],
)
def test_what_is_no_image_is_refused(data, message):
    with pytest.raises(BadData, match=f"^row 7: .*{message}"):
        decode(data, "row 7", at_least=None)


def chunk(name: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    """The PNG with another chunk behind its header."""
    return png[:33] + chunk(name, content) + png[33:]


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of broken TIFFs
def test_damage_ends_in_an_image_or_in_bad_data(file_format):
    """Whatever bytes are changed: no other error, and never another mode."""
    whole = encoded(photo(24, 18), file_format)
    chance = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(whole)
        for place in chance.integers(0, len(whole), 3):
            damaged[place] = chance.integers(0, 256)
        try:
            outcomes.add(decode(bytes(damaged), "row 7", at_least=8).mode)
        except BadData as error:
            outcomes.add(str(error)[:7])
    assert "row 7: " in outcomes
    assert outcomes <= {"RGB", "row 7: "}
