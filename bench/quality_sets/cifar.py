"""CIFAR-10: MobileNetV2 by embedtune and by the usual loop of pytorch-metric-learning."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader
from vision_triplet import PEER, Files, Pictures, varied

import localassets
from embedtune_api.spec import Dataset, FineTuneJobSpec
from embedtune_trainer.batches.sampler import ClassSampler
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.evaluation.retrieval import same_label
from embedtune_trainer.objectives.triplet import TripletMarginLoss as OurTripletMarginLoss
from embedtune_trainer.rows.read import Wanted, read_rows
from embedtune_trainer.rows.table import LabelledRows
from quality_sets.comparison import (
    Comparison,
    Embedded,
    Ours,
    example,
    greatest_angle,
    numbered,
    with_seed,
)
from quality_sets.judge import Judge
from quality_sets.loop import embedded, evaluated, train

TOLERANCE = 1e-3
CHUNK = 100


def cifar10(limit: int | None = None) -> Comparison:
    """Pictures of classes: semi-hard triplets, each held-out picture searched in the others."""
    spec = example("cifar10")
    paths = localassets.cifar10()
    rows, held_out = _read(paths.train), _read(paths.test)
    if limit is not None:
        rows = rows.take(range(0, len(rows), -(-len(rows) // limit)))
    training = spec.training
    labels = numbered(held_out.labels)[0]
    return Comparison(
        title=f"CIFAR-10: MobileNetV2 at {spec.model.image_size} pixels, semi-hard triplets;"
        f" {len(rows):,} pictures, {training.epochs} epochs, batches of {training.rows_in_batch},"
        f" {spec.objective.items_per_class} of a class, learning rate {training.learning_rate:g}",
        peer=PEER,
        sides=(partial(_ours, spec, rows, held_out), partial(_Theirs, spec, rows, held_out)),
        judge=Judge(same_label(labels, labels), ("precision_at_1", "map")),
        tolerance=TOLERANCE,
        apart=greatest_angle,
    )


def _ours(spec: FineTuneJobSpec, rows: LabelledRows, held_out: LabelledRows, seed: int) -> Ours:
    assert spec.model.encoder is not None
    fetched = Fetched("", None, localassets.mobilenet_v2())
    encoders = Encoders.single(load_encoder(fetched, spec.model.encoder, seed))
    training = with_seed(spec.training, seed)
    return Ours(encoders, rows, spec.objective, training, (held_out.items, None))


class _Theirs:
    """A Side: MPerClassSampler, the miner, the loss, and torchvision's transforms."""

    def __init__(
        self, spec: FineTuneJobSpec, rows: LabelledRows, held_out: LabelledRows, seed: int
    ) -> None:
        self._network = torchvision.models.mobilenet_v2()
        state = torch.load(localassets.mobilenet_v2(), weights_only=True)
        self._network.load_state_dict(state)
        self._network.classifier = nn.Identity()
        self._rows, self._held_out = _files(rows), _files(held_out)
        self._spec, self._training = spec, with_seed(spec.training, seed)
        margin = OurTripletMarginLoss().margin
        self._loss = TripletMarginLoss(margin, distance=CosineSimilarity())
        self._miner = TripletMarginMiner(margin, "semihard", distance=CosineSimilarity())

    def train(self) -> int:
        """As many batches an epoch as embedtune's sampler makes."""
        batch, k = self._training.rows_in_batch, self._spec.objective.items_per_class
        labels = [label for _, label in self._rows]
        batches = len(ClassSampler(np.array(labels), batch, k, self._training.seed))
        loader = DataLoader(
            Pictures(self._rows, varied(self._side)),
            batch,
            sampler=MPerClassSampler(labels, k, batch, batches * batch),
            num_workers=os.cpu_count() or 1,
        )
        return train(self._network, loader, self._training, self._batch_loss)

    def embed(self) -> Embedded:
        """See Side."""
        loader = DataLoader(Pictures(self._held_out, evaluated(self._side)), CHUNK)
        return embedded(self._network, (images for images, _ in loader)), None

    @property
    def _side(self) -> int:
        assert self._spec.model.image_size is not None
        return self._spec.model.image_size

    def _batch_loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images_B3HW, labels_B = batch
        x_BD = normalize(self._network(images_B3HW))
        loss: Tensor = self._loss(x_BD, labels_B, self._miner(x_BD, labels_B))
        return loss


def _files(rows: LabelledRows) -> Files:
    """Paths with numbers of classes."""
    labels = numbered(rows.labels)[0].tolist()
    return [(Path(path), label) for path, label in zip(rows.items.values, labels, strict=True)]


def _read(path: Path) -> LabelledRows:
    dataset = Dataset(uri=path.as_uri(), format="images")
    rows = read_rows(path, dataset, Wanted("image", "image"))
    assert isinstance(rows, LabelledRows)
    return rows
