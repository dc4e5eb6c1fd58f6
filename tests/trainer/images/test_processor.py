"""Batches of images: the same whoever decodes them, and in whatever order."""

from pathlib import Path

import numpy as np
import pytest
import torch

from embedtune_trainer.embedder.processor import Processor
from embedtune_trainer.errors import BadData
from embedtune_trainer.images import processor as under_test
from embedtune_trainer.images.augment import OF_CAPTIONED
from embedtune_trainer.images.decode import decode
from embedtune_trainer.images.preprocess import fitted, normalised
from embedtune_trainer.images.preprocessing import Preprocessing
from embedtune_trainer.images.processor import ImageProcessor
from embedtune_trainer.rows.table import FileSlice, Images, Texts
from tests.trainer.images.pictures import encoded, photo

HOW = Preprocessing((24, 32), 36, "bicubic")
CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """Twelve of many sizes: files, parts of a file, and bytes."""
    data = [encoded(photo(20 + 7 * i, 90 - 5 * i, i)) for i in range(12)]
    archive = tmp_path / "archive"
    archive.write_bytes(b"".join(data))
    values: list[Path | FileSlice | bytes] = []
    for i, one in enumerate(data):
        path = tmp_path / f"{i}.png"
        path.write_bytes(one)
        slice_ = FileSlice(archive, sum(map(len, data[:i])), len(one))
        values.append([path, slice_, one][i % 3])
    return Images(values, [f"row {i}" for i in range(12)])


def batch(processor: ImageProcessor, images: Images, indices, variation=None) -> torch.Tensor:
    return processor.batch(processor.table(images), np.asarray(indices), CPU, variation)


def test_a_batch_is_each_image_preprocessed(images):
    processor: Processor = ImageProcessor(HOW)
    assert processor.modality == "image"
    table = processor.table(images)
    assert len(table) == 12
    assert table.lengths_N.tolist() == [12] * 12, "24 x 32 pixels are 12 patches of 8 x 8"
    found = processor.batch(table, np.array([7, 0, 7, 11]), CPU)
    assert found.shape == (4, 3, 24, 32)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    for row, item in enumerate([7, 0, 7, 11]):
        image = decode(images.values[item], "x", at_least=HOW.at_least)
        levels = torch.from_numpy(np.array(fitted(image, HOW)))
        assert torch.equal(found[row], normalised(levels[None], HOW)[0])


@pytest.mark.parametrize("variation", [None, 5])
def test_threads_order_and_memory_change_nothing(images, variation):
    """Bit for bit: one thread, many; one batch, several in another order; kept and decoded anew."""
    whole = batch(ImageProcessor(HOW, augment=True, workers=1), images, range(12), variation)
    many = ImageProcessor(HOW, augment=True, workers=8)
    table = many.table(images)
    for _ in range(2):
        order = np.random.default_rng(0).permutation(12)
        for part in (order[:5], order[5:]):
            assert torch.equal(many.batch(table, part, CPU, variation), whole[part])
    nothing_kept = ImageProcessor(HOW, augment=True, kept_bytes=0)
    assert torch.equal(batch(nothing_kept, images, range(12), variation), whole)


def test_augmented_only_if_asked_for_and_only_in_training(images):
    plain = batch(ImageProcessor(HOW), images, range(12))
    assert torch.equal(batch(ImageProcessor(HOW), images, range(12), 5), plain)
    varying = ImageProcessor(HOW, augment=True)
    assert torch.equal(batch(varying, images, range(12)), plain)
    first, second = (batch(varying, images, range(12), epoch) for epoch in (0, 1))
    assert ((first - second).abs().amax((1, 2, 3)) > 0.1).all()
    assert ImageProcessor(HOW, augment=OF_CAPTIONED).augmentation == OF_CAPTIONED


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def counted(value, name, *, at_least):
        names.append(name)
        return decode(value, name, at_least=at_least)

    monkeypatch.setattr(under_test, "decode", counted)
    return names


def test_small_data_are_decoded_once(images, monkeypatch):
    names = count_decoded(monkeypatch)
    processor = ImageProcessor(HOW, augment=True)
    table = processor.table(images)
    for epoch in range(3):
        processor.batch(table, np.arange(12), CPU, epoch)
    assert sorted(names) == sorted(images.names)


def test_what_is_kept_is_bounded(images, monkeypatch):
    """Room for the first two of 20 x 90 and 27 x 85 pixels, and not for a third."""
    names = count_decoded(monkeypatch)
    processor = ImageProcessor(HOW, kept_bytes=3 * (20 * 90 + 27 * 85), workers=1)
    table = processor.table(images)
    for _ in range(2):
        processor.batch(table, np.arange(12), CPU)
    assert sorted(names) == sorted([*images.names, *images.names[2:]])
    assert table.kept.room_bytes == 0


def test_a_broken_image_is_named(images):
    broken = Images([*images.values, b"no"], [*images.names, "data.csv row 13, image 'x.png'"])
    with pytest.raises(BadData, match=r"^data.csv row 13, image 'x.png': not an image"):
        batch(ImageProcessor(HOW), broken, range(13))


def test_of_several_broken_images_the_first_is_named():
    broken = Images([b"no"] * 40, [f"row {i}" for i in range(40)])
    processor = ImageProcessor(HOW, workers=8)
    for _ in range(20):
        with pytest.raises(BadData, match=r"^row 3: "):
            batch(processor, broken, range(3, 40))


def test_other_items_are_refused():
    with pytest.raises(TypeError, match="an image encoder cannot take items that are text"):
        ImageProcessor(HOW).table(Texts(["a"]))
