"""Small image networks with random weights, as files."""

from pathlib import Path

import torch
from torch import Tensor

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.vision import library_model
from embedtune_trainer.sources.fetch import Fetched


def write_weights(uri: str, folder: Path, size: int | None = None) -> Path:
    """The state dict of the library's network as it is when it is new."""
    torch.manual_seed(0)
    model = library_model(uri, "own.pth")
    side = (size, size) if size else model.preprocessing.size
    path = folder / f"{uri.replace('://', '-')}.pth"
    torch.save(model.build(side).state_dict(), path)
    return path


def load(uri: str, weights: Path, seed: int = 0, **spec: object) -> Embedder:
    """An encoder with these weights."""
    given = {"backbone": uri, "weights": f"file://{weights}", **spec}
    return load_encoder(Fetched(uri, weights=weights), Encoder.parse(given), seed)


def images(size: int, count: int = 2) -> Tensor:
    """(count, 3, size, size) noise, always the same."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))
