"""Semi-hard triplets over images, P classes times K images: beside pytorch-metric-learning's loop.

CIFAR-10's pictures, cropped, mirrored and coloured at random, at 64 pixels. The peer is the loop of
that library's own examples: MPerClassSampler, torchvision's transforms in a DataLoader with as many
processes as cores, TripletMarginMiner and TripletMarginLoss; the same with channels last; and with
bfloat16, where the machine has it. Both choose semi-hard triplets, each in its way (embedtune the
nearest for each positive, the peer all of them); the first batch is compared over all triplets that
violate the margin, which are the same.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torchvision
from contest import OURS, Contest, parser, request, run
from contestant import Start, System, Trained, timed, training_flops
from ours import Ours, gradient_norm, in_bfloat16
from PIL import Image
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import localassets
from embedtune_api.spec import Encoder, Objective, Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.images.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from embedtune_trainer.rows.table import Images, LabelledRows

PEER = "pytorch-metric-learning"
CHANNELS_LAST = "pytorch-metric-learning, channels last"
HALF = "pytorch-metric-learning, channels last, bf16"
MARGIN, RATE, SEED, K = 0.2, 1e-4, 0, 8
HEADS = {"mobilenet_v2": "classifier", "resnet18": "fc", "resnet50": "fc"}
Files = list[tuple[Path, int]]
TO_NUMBERS = (
    v2.ToImage(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
)


def files(count: int) -> Files:
    """So many pictures, all classes alike, over and over if there are too few."""
    root = localassets.cifar10().train
    classes = [sorted(folder.iterdir()) for folder in sorted(root.iterdir()) if folder.is_dir()]
    turns = [
        (own[turn % len(own)], number)
        for turn in range(-(-count // len(classes)))
        for number, own in enumerate(classes)
    ]
    return turns[:count]


def weights(name: str, scratch: Path) -> Path:
    """The network's state dict: MobileNetV2's own, others' random."""
    if name == "mobilenet_v2":
        return localassets.mobilenet_v2()
    path = scratch / f"{name}.pth"
    torch.manual_seed(SEED)
    torch.save(getattr(torchvision.models, name)().state_dict(), path)
    return path


def varied(side: int) -> v2.Compose:
    """The augmentation that embedtune has for images with labels, in torchvision's words."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(side, (0.5, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.2, 0.2, 0.2),
            *TO_NUMBERS,
        ]
    )


class Pictures(Dataset[tuple[Tensor, int]]):
    """Files with their classes, as the peer's loop reads them."""

    def __init__(self, chosen: Files, transform: v2.Compose) -> None:
        self._chosen = chosen
        self._transform = transform

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        path, label = self._chosen[item]
        with Image.open(path) as image:
            return self._transform(image.convert("RGB")), label


class Theirs:
    """A System: the usual loop."""

    def __init__(
        self,
        name: str,
        state: Path,
        chosen: Files,
        batch: int,
        side: int,
        device: str,
        how: Sequence[str] = (),
    ) -> None:
        network = getattr(torchvision.models, name)()
        network.load_state_dict(torch.load(state, weights_only=True))
        setattr(network, HEADS[name], nn.Identity())
        self._format = torch.channels_last if CHANNELS_LAST in how else torch.contiguous_format
        self._network = network.to(device, memory_format=self._format)
        self._chosen, self._batch, self._side, self._device = chosen, batch, side, device
        self._half = HALF in how
        self._loss = TripletMarginLoss(MARGIN, distance=CosineSimilarity())

    def first(self) -> Start:
        """Over all triplets that violate the margin."""
        resized = round(256 * self._side / 224)
        transform = v2.Compose([v2.Resize(resized), v2.CenterCrop(self._side), *TO_NUMBERS])
        rows = Pictures(self._chosen[: self._batch], transform)
        images_B3HW = torch.stack([rows[i][0] for i in range(self._batch)])
        labels_B = torch.tensor([label for _, label in self._chosen[: self._batch]])
        self._network.train()
        x_BD = normalize(self._network(images_B3HW.to(self._device)))
        miner = TripletMarginMiner(MARGIN, "all", distance=CosineSimilarity())
        loss = self._loss(x_BD, labels_B, miner(x_BD, labels_B))
        loss.backward()
        return Start(float(loss.detach()), gradient_norm(list(self._network.parameters())))

    def train(self, steps: int) -> Trained:
        """One pass."""
        labels = [label for _, label in self._chosen]
        loader = DataLoader(
            Pictures(self._chosen, varied(self._side)),
            self._batch,
            sampler=MPerClassSampler(labels, K, self._batch, steps * self._batch),
            num_workers=os.cpu_count() or 1,
            pin_memory=self._device == "cuda",
        )
        miner = TripletMarginMiner(MARGIN, "semihard", distance=CosineSimilarity())
        optimizer = torch.optim.AdamW(self._network.parameters(), RATE)
        self._network.train()
        rows, wait_s = 0, 0.0
        for (read_B3HW, read_B), waited_s in timed(loader):
            images_B3HW = read_B3HW.to(self._device, memory_format=self._format)
            labels_B = read_B.to(self._device)
            with torch.autocast(self._device, torch.bfloat16, enabled=self._half):
                x_BD = self._network(images_B3HW)
            x_BD = normalize(x_BD.float())
            loss = self._loss(x_BD, labels_B, miner(x_BD, labels_B))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rows += len(labels_B)
            wait_s += waited_s
        return Trained(rows, wait_s)


class OurTriplets(Ours):
    """The same training, whose first batch is taken over all triplets."""

    def __init__(
        self, name: str, state: Path, chosen: Files, batch: int, side: int, device: str
    ) -> None:
        encoder = Encoder(
            backbone=f"torchvision://{name}", weights=f"file://{state}", image_size=side
        )
        embedder = load_encoder(Fetched("", None, state), encoder, SEED).to(device)
        paths = [path for path, _ in chosen]
        images = Images(paths, [path.name for path in paths])
        self._rows = LabelledRows(images, [str(label) for _, label in chosen], "bench")
        self._training = Training(epochs=1, batch_size=batch, learning_rate=RATE, seed=SEED)
        self._single = Encoders.single(embedder)
        super().__init__(self._single, self._rows, self._asking("semihard"), self._training)

    def _asking(self, triplets: str) -> Objective:
        return Objective(
            loss="TripletMarginLoss",
            loss_options={"margin": MARGIN},
            miner_options={"typeOfTriplets": triplets},
            items_per_class=K,
        )

    def first(self) -> Start:
        """Over all triplets that violate the margin."""
        return Ours(self._single, self._rows, self._asking("all"), self._training).first()


def row_flops(name: str, side: int) -> float:
    """Of a picture; the head's are few."""
    with torch.device("meta"):
        network = getattr(torchvision.models, name)().eval()
    return training_flops(lambda: network(torch.empty(1, 3, side, side, device="meta")))


def main(arguments: Sequence[str]) -> int:
    """Run the comparison and write it down."""
    parse = parser(__doc__, steps=40)
    parse.add_argument("--backbone", choices=HEADS, default="mobilenet_v2")
    parse.add_argument("--batch", type=int, default=64)
    parse.add_argument("--side", type=int, default=64, help="pixels")
    asked = request(parse, arguments)
    options = asked.options
    with tempfile.TemporaryDirectory() as scratch:
        state = weights(options.backbone, Path(scratch))
        chosen = files(options.batch * options.steps)
        given = (options.backbone, state, chosen, options.batch, options.side, options.device)
        systems: dict[str, Callable[[], System]] = {
            OURS: partial(OurTriplets, *given),
            PEER: partial(Theirs, *given),
            CHANNELS_LAST: partial(Theirs, *given, [CHANNELS_LAST]),
        }
        goals = {PEER: 1.3}
        if options.device == "cuda":
            systems = {
                OURS: systems[OURS],
                HALF: partial(Theirs, *given, [CHANNELS_LAST, HALF]),
            }
            goals = {HALF: 1.4}
        elif in_bfloat16(options.device):
            systems[HALF] = partial(Theirs, *given, [CHANNELS_LAST, HALF])
        return run(
            Contest(
                request=asked,
                title=f"{options.backbone} at {options.side} pixels, semi-hard triplets, batches"
                f" of {options.batch}, {K} of a class",
                systems=systems,
                checked=tuple(goals),
                goals=goals,
                notes=("Both decode, crop, mirror and colour the same pictures.",),
                tolerance=1e-3,
                row_flops=row_flops(options.backbone, options.side),
            )
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
