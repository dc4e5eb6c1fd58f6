"""openclipart: MiniLM and MobileNetV2 by embedtune and by a plain loop with open_clip's loss."""

import math
import os
from functools import partial
from pathlib import Path

import torch
import torchvision
from images import on_white
from open_clip import ClipLoss
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from vision_triplet import TO_NUMBERS

import localassets
from embedtune_api.spec import Dataset as DatasetSpec
from embedtune_api.spec import FineTuneJobSpec
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.freeze import freeze
from embedtune_trainer.embedder.layers import new_projection
from embedtune_trainer.embedder.load import Fetched, load_tower
from embedtune_trainer.embedder.pair import FIRST_TEMPERATURE, build_pair
from embedtune_trainer.evaluation.retrieval import paired
from embedtune_trainer.images.augment import OF_CAPTIONED
from embedtune_trainer.rows.read import Wanted, read_rows
from embedtune_trainer.rows.table import PairRows
from quality_sets.comparison import (
    Comparison,
    Embedded,
    Ours,
    distinct,
    example,
    greatest_angle,
    with_seed,
)
from quality_sets.judge import CUTOFFS, Judge
from quality_sets.loop import embedded, evaluated, train

PEER = "open_clip's loss in a plain loop"
EPOCHS = 3
"""Fewer than the example's, whose twelve would take an hour for three seeds of both."""
TOLERANCE = 1e-3
CHUNK = 100


def openclipart(limit: int | None = None) -> Comparison:
    """Titles with pictures: CLIP's loss, searched both ways."""
    spec = example("openclipart")
    training = spec.training.model_copy(update={"epochs": EPOCHS})
    spec = spec.model_copy(update={"training": training})
    paths = localassets.openclipart()
    rows, held_out = _read(paths.train, limit), _read(paths.test)
    return Comparison(
        title=f"openclipart: MiniLM and MobileNetV2, CLIPLoss; {len(rows):,} titles with pictures,"
        f" {EPOCHS} epochs, batches of {training.rows_in_batch},"
        f" learning rate {training.learning_rate:g}",
        peer=PEER,
        sides=(partial(_ours, spec, rows, held_out), partial(_Theirs, spec, rows, held_out)),
        judge=_BothWays(held_out),
        tolerance=TOLERANCE,
        apart=greatest_angle,
    )


class _BothWays:
    """Judges the search for pictures with titles, and for titles with pictures."""

    def __init__(self, held_out: PairRows) -> None:
        (left, left_N), (right, right_N) = distinct(held_out.left), distinct(held_out.right)
        if not len(left) == len(right) == len(held_out):
            raise AssertionError("a title or a picture is held out twice")
        names = [f"recall_at_{k}" for k in CUTOFFS]
        self._forth = Judge(paired(left_N, right_N, len(left)), names)
        self._back = Judge(paired(right_N, left_N, len(right)), names)

    def __call__(self, text_ND: Tensor, image_ND: Tensor | None) -> dict[str, float]:
        """Recall at k, and image_to_text_ before the names of the way back."""
        assert image_ND is not None
        back = self._back(image_ND, text_ND)
        return self._forth(text_ND, image_ND) | {f"image_to_text_{k}": v for k, v in back.items()}


def _ours(spec: FineTuneJobSpec, rows: PairRows, held_out: PairRows, seed: int) -> Ours:
    text, image = spec.model.text, spec.model.image
    assert text is not None
    assert image is not None
    pair = build_pair(
        load_tower(Fetched("", localassets.minilm()), text, seed),
        load_tower(Fetched("", None, localassets.mobilenet_v2()), image, seed),
    )
    training = with_seed(spec.training, seed)
    items = (held_out.left, held_out.right)
    return Ours(Encoders.pair(pair), rows, spec.objective, training, items)


class _Towers(nn.Module):
    """Both networks by their libraries, with the spec's frozen weights and projections.

    What is frozen gets no gradient; its BatchNorm and dropout follow train(), as they do for
    whoever sets requires_grad alone.
    """

    def __init__(self, spec: FineTuneJobSpec, seed: int) -> None:
        super().__init__()
        whole = SentenceTransformer(str(localassets.minilm()), device="cpu")
        self.tokenize = whole.preprocess
        self.text = nn.Sequential(whole[0], whole[1])
        self.image = torchvision.models.mobilenet_v2()
        self.image.load_state_dict(torch.load(localassets.mobilenet_v2(), weights_only=True))
        self.image.classifier = nn.Identity()
        text, image = spec.model.text, spec.model.image
        assert text is not None
        assert image is not None
        assert text.projection is not None
        assert image.projection is not None
        transformer, width = whole[0].auto_model, whole.get_embedding_dimension()
        assert isinstance(transformer, nn.Module)
        assert width is not None
        freeze(transformer, text.freeze)
        freeze(self.image, image.freeze)
        self.of_text = nn.Sequential(*new_projection(width, text.projection, seed))
        self.of_image = nn.Sequential(*new_projection(1280, image.projection, seed))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(FIRST_TEMPERATURE)))

    def encode_text(self, titles: list[str]) -> Tensor:
        """(B, D) of length 1."""
        x_BD = self.text(self.tokenize(titles))["sentence_embedding"]
        return normalize(self.of_text(x_BD), dim=-1)

    def encode_image(self, images_B3HW: Tensor) -> Tensor:
        """(B, D) of length 1."""
        return normalize(self.of_image(self.image(images_B3HW)), dim=-1)


class _Pairs(Dataset[tuple[Tensor, str]]):
    """Pictures on white, with their titles."""

    def __init__(self, rows: PairRows, transform: v2.Compose) -> None:
        self._titles, self._paths = list(rows.left.values), list(rows.right.values)
        self._transform = transform

    def __len__(self) -> int:
        return len(self._titles)

    def __getitem__(self, item: int) -> tuple[Tensor, str]:
        return self._transform(on_white(str(self._paths[item]))), self._titles[item]


class _Theirs:
    """A Side: both towers in the loop of open_clip's training."""

    def __init__(
        self, spec: FineTuneJobSpec, rows: PairRows, held_out: PairRows, seed: int
    ) -> None:
        self._model = _Towers(spec, seed)
        self._rows, self._held_out = rows, held_out
        self._training = with_seed(spec.training, seed)
        assert spec.model.image is not None
        assert spec.model.image.image_size is not None
        self._side = spec.model.image.image_size
        self._loss = ClipLoss()

    def train(self) -> int:
        """By the loop; an epoch's last batch is not dropped, so that the steps are as many."""
        loader = DataLoader(
            _Pairs(
                self._rows,
                v2.Compose([v2.RandomResizedCrop(self._side, OF_CAPTIONED.scale), *TO_NUMBERS]),
            ),
            self._training.rows_in_batch,
            shuffle=True,
            num_workers=os.cpu_count() or 1,
        )
        return train(self._model, loader, self._training, self._batch_loss, self._clamp)

    def embed(self) -> Embedded:
        """See Side."""
        batches = list(DataLoader(_Pairs(self._held_out, evaluated(self._side)), CHUNK))
        model = self._model
        text_ND = embedded(model, (list(titles) for _, titles in batches), model.encode_text)
        image_ND = embedded(model, (images for images, _ in batches), model.encode_image)
        return text_ND, image_ND

    def _batch_loss(self, batch: tuple[Tensor, tuple[str, ...]]) -> Tensor:
        images_B3HW, titles = batch
        sides = (
            self._model.encode_image(images_B3HW),
            self._model.encode_text(list(titles)),
        )
        loss: Tensor = self._loss(*sides, self._model.log_scale.exp())
        return loss

    @torch.no_grad()
    def _clamp(self) -> None:
        self._model.log_scale.clamp_(0, math.log(100))


def _read(path: Path, limit: int | None = None) -> PairRows:
    dataset = DatasetSpec(uri=path.as_uri(), limit=limit)
    rows = read_rows(path, dataset, Wanted("text", "image"))
    assert isinstance(rows, PairRows)
    return rows
