"""Several workers, images that are done in another order than they were begun: the same batches."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from embedtune_trainer.batches.pairs import RandomSampler
from embedtune_trainer.images import processor as under_test
from embedtune_trainer.images.decode import decode
from embedtune_trainer.images.prefetch import prefetched
from embedtune_trainer.images.preprocessing import Preprocessing
from embedtune_trainer.images.processor import ImageProcessor
from embedtune_trainer.rows.table import Images
from tests.trainer.images.pictures import encoded, photo

HOW = Preprocessing((24, 24), 28, "bilinear")
IMAGES = Images([encoded(photo(30 + i, 40, i)) for i in range(12)], [f"row {i}" for i in range(12)])
CPU = torch.device("cpu")


class Backwards:
    """Decoding in which of each `workers` images the one that was begun last is done first."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._begun = 0
        self._done = [threading.Event() for _ in range(1000)]
        self._lock = threading.Lock()
        self.order: list[int] = []

    def __call__(self, value, name, *, at_least):
        with self._lock:
            number = self._begun
            self._begun += 1
        if (number + 1) % self._workers:
            assert self._done[number + 1].wait(10)
        found = decode(value, name, at_least=at_least)
        self.order.append(number)
        self._done[number].set()
        return found


def batches(workers: int, epoch: int, ahead: int) -> Iterator[torch.Tensor]:
    processor = ImageProcessor(HOW, augment=True, workers=workers, kept_bytes=0)
    table = processor.table(IMAGES)
    sampler = RandomSampler(len(IMAGES), 4, seed=3)
    return prefetched(lambda b: processor.batch(table, b, CPU, epoch), sampler.epoch(epoch), ahead)


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("ahead", [1, 3])
def test_batches_come_in_the_samplers_order(monkeypatch, workers, ahead):
    alone = [list(batches(1, epoch, 1)) for epoch in (0, 1)]
    backwards = Backwards(workers)
    monkeypatch.setattr(under_test, "decode", backwards)
    for epoch in (0, 1):
        found = list(batches(workers, epoch, ahead))
        assert len(found) == 3
        for ours, expected in zip(found, alone[epoch], strict=True):
            assert torch.equal(ours, expected)
    assert backwards.order[:workers] == list(range(workers))[::-1]


def test_an_epoch_varies_each_image_by_seed_epoch_and_row_alone():
    sampler = RandomSampler(len(IMAGES), 4, seed=3)
    first, again, other = (
        torch.cat(list(batches(2, epoch, 2)))[np.argsort(np.concatenate(sampler.epoch(epoch)))]
        for epoch in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert ((first - other).abs().amax((1, 2, 3)) > 0.01).all()
