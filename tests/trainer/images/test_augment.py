"""Augmentation: what it draws, and from what."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from embedtune_trainer.images.augment import (
    OF_CAPTIONED,
    OF_CLASSES,
    Augmentation,
    _crop,
    generator_of,
    varied,
)
from embedtune_trainer.images.preprocess import fitted
from embedtune_trainer.images.preprocessing import Preprocessing
from tests.trainer.images.pictures import largest_difference, photo

HOW = Preprocessing((32, 32), 36)
STILL = Augmentation((1, 1), (1, 1), 0, 0, 0, 0)


def draw(image: Image.Image, augmentation: Augmentation, variation: int = 0, item: int = 0):
    return varied(image, HOW, augmentation, generator_of(variation, item))


def test_drawn_from_variation_and_item_alone():
    image = photo(80, 60)
    torch.manual_seed(0)
    first = draw(image, OF_CLASSES, 3, 7)
    torch.manual_seed(1)
    assert largest_difference(first, draw(image, OF_CLASSES, 3, 7)) == 0
    assert largest_difference(first, draw(image, OF_CLASSES, 4, 7)) > 10
    assert largest_difference(first, draw(image, OF_CLASSES, 3, 8)) > 10
    assert largest_difference(first, draw(image, OF_CLASSES, 7, 3)) > 10


def test_nothing_drawn_changes_nothing():
    image = photo(60, 60)
    assert largest_difference(draw(image, STILL), image.resize((32, 32), Image.BILINEAR)) == 0


@pytest.mark.parametrize("augmentation", [OF_CLASSES, OF_CAPTIONED])
def test_crops_are_distributed_as_torchvisions(augmentation):
    """Mean and spread of area and ratio over 3,000 crops of an image that most of them fit in."""
    image = Image.new("RGB", (1000, 1000))
    theirs = v2.RandomResizedCrop(32, augmentation.scale, augmentation.ratio)
    torch.manual_seed(0)
    made = [theirs.make_params([image]) for _ in range(3000)]
    expected = np.array([(p["height"], p["width"], p["top"], p["left"]) for p in made], float)
    found = np.array([_crop(image, augmentation, generator_of(0, i)) for i in range(3000)], float)
    found = found[:, [2, 3, 0, 1]]
    for measure in (
        lambda x: x[:, 0] * x[:, 1] / 1e6,
        lambda x: np.log(x[:, 1] / x[:, 0]),
        lambda x: x[:, 2] / (1001 - x[:, 0]),
        lambda x: x[:, 3] / (1001 - x[:, 1]),
    ):
        ours, peers = measure(found), measure(expected)
        assert abs(ours.mean() - peers.mean()) < 4 * peers.std() * np.sqrt(2 / 3000)
        assert ours.std() == pytest.approx(peers.std(), rel=0.08)


@pytest.mark.parametrize("size", [(1, 1), (1000, 1), (1, 1000), (3, 700), (32, 32)])
def test_every_shape_is_brought_to_size(size):
    image = Image.new("RGB", size, (10, 20, 30))
    for item in range(20):
        top, left, height, width = _crop(image, OF_CLASSES, generator_of(0, item))
        assert top >= 0
        assert left >= 0
        assert 0 < height <= size[1] - top
        assert 0 < width <= size[0] - left
        assert draw(image, OF_CLASSES, 0, item).size == (32, 32)


def test_half_are_mirrored():
    image = Image.new("RGB", (40, 40))
    image.paste((255, 255, 255), (0, 0, 20, 40))
    flips = Augmentation((1, 1), (1, 1), 0.5, 0, 0, 0)
    mirrored = [np.asarray(draw(image, flips, 0, i))[0, 0, 0] == 0 for i in range(400)]
    assert 160 < sum(mirrored) < 240


@pytest.mark.parametrize(
    ("name", "torchvisions"),
    [
        ("brightness", v2.functional.adjust_brightness),
        ("contrast", v2.functional.adjust_contrast),
        ("saturation", v2.functional.adjust_saturation),
    ],
)
def test_colours_change_within_what_is_allowed(name, torchvisions):
    image = photo(32, 32)
    one = Augmentation(
        (1, 1), (1, 1), 0, **{"brightness": 0, "contrast": 0, "saturation": 0, name: 0.2}
    )
    levels = {
        name: np.asarray(torchvisions(image, f)).astype(int)
        for name, f in (("low", 0.8), ("high", 1.2))
    }
    low, high = np.minimum(*levels.values()), np.maximum(*levels.values())
    seen = [np.asarray(draw(image, one, 0, i)).astype(int) for i in range(40)]
    assert all(((low - 1 <= x) & (x <= high + 1)).all() for x in seen)
    assert len({x.tobytes() for x in seen}) > 20


def test_captioned_images_keep_their_sides_and_colours():
    image = Image.new("RGB", (100, 100), (255, 0, 0))
    image.paste((0, 0, 255), (50, 0, 100, 100))
    for item in range(30):
        found_HW3 = np.asarray(draw(image, OF_CAPTIONED, 0, item))
        assert (found_HW3[:, :12] == (255, 0, 0)).all()
        assert (found_HW3[:, -12:] == (0, 0, 255)).all()


def test_the_size_is_that_of_evaluation():
    how = Preprocessing((24, 40), (30, 44))
    image = photo(90, 70)
    assert varied(image, how, OF_CLASSES, generator_of(0, 0)).size == fitted(image, how).size
