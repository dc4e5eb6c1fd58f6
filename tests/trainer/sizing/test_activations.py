"""What is counted without weights is what a real encoder's autograd saves, to the byte."""

from pathlib import Path

import pytest
import torch

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import load_tower
from embedtune_trainer.embedder.tokens import Tokens
from embedtune_trainer.inspection import inspect_backbone
from embedtune_trainer.sizing.activations import Activations, count_activations
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.hub.text_families import TEXT_FAMILIES, TextFamily
from tests.trainer.hub.vision_families import SIDE, VISION_FAMILIES, VisionFamily

pytestmark = pytest.mark.slow

LENGTH = 16
ITEMS = 3


def counted(fetched: Fetched, *, bfloat16: bool = False, **spec: object) -> Activations:
    encoder = Encoder.parse({"backbone": fetched.uri, **spec})
    return count_activations(inspect_backbone(encoder, fetched).bare, LENGTH, bfloat16=bfloat16)


def saved_for_real(
    fetched: Fetched, inputs: object, *, bfloat16: bool = False, **spec: object
) -> int:
    """Bytes that autograd keeps of one batch of a loaded encoder in training."""
    encoder = load_tower(fetched, Encoder.parse({"backbone": fetched.uri, **spec}), 0).train()
    weights = {t.untyped_storage().data_ptr() for t in encoder.state_dict().values()}
    found: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda x: x),
        torch.autocast("cpu", torch.bfloat16, enabled=bfloat16),
    ):
        kept = encoder(inputs)
    del kept
    return sum(found.values())


def texts(items: int = ITEMS, length: int = LENGTH) -> Tokens:
    ids_BT = torch.randint(5, 20, (items, length))
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, length // 2 :] = 0
    return Tokens(ids_BT, mask_BT)


SPECS = [
    {},
    {"freeze": ["embeddings", "encoder.layer.0"]},
    {"lora": {"rank": 2}},
    {"freeze": ["backbone"], "projection": {"dim": 8}},
    {"projection": {"dim": 8, "hidden": [16]}, "pooling": "cls"},
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_texts(tiny_backbone: Path, spec: dict[str, object], bfloat16: bool) -> None:
    fetched = Fetched(tiny_backbone.as_uri(), folder=tiny_backbone)
    found = counted(fetched, bfloat16=bfloat16, **spec)
    told = found.constant_bytes + ITEMS * found.of(LENGTH).saved_bytes
    real = saved_for_real(fetched, texts(), bfloat16=bfloat16, **spec)
    assert told == pytest.approx(real, rel=0.03, abs=2000)


def test_longer_texts_than_were_counted(tiny_backbone: Path) -> None:
    """Attention grows with the square of the length."""
    fetched = Fetched(tiny_backbone.as_uri(), folder=tiny_backbone)
    found = counted(fetched)
    real = saved_for_real(fetched, texts(length=4 * LENGTH))
    assert ITEMS * found.of(4 * LENGTH).saved_bytes == pytest.approx(real, rel=0.05)
    assert found.quadratic.saved_bytes > 0


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
@pytest.mark.parametrize("spec", [{}, {"freeze": ["backbone"], "projection": {"dim": 8}}])
def test_images(name: str, spec: dict[str, object], tmp_path: Path) -> None:
    import torchvision

    weights = tmp_path / "weights.pth"
    torch.save(torchvision.models.get_model(name).state_dict(), weights)
    uri, given = f"torchvision://{name}", {"imageSize": 64, **spec}
    fetched = Fetched(uri, weights=weights)
    found = counted(fetched, **given)
    images = torch.randn(ITEMS, 3, 64, 64)
    real = saved_for_real(fetched, images, weights=weights.as_uri(), **given)
    told = found.constant_bytes + ITEMS * found.of(1).saved_bytes
    assert told == pytest.approx(real, rel=0.03, abs=4000)


@pytest.mark.parametrize("family", TEXT_FAMILIES, ids=lambda family: family.name)
def test_families_of_texts(family: TextFamily, tmp_path: Path) -> None:
    folder = family.save(tmp_path / "model")
    found = counted(Fetched(folder.as_uri(), folder=folder))
    assert found.of(LENGTH).saved_bytes > 0
    assert found.of(LENGTH).flops > 0


@pytest.mark.parametrize("family", VISION_FAMILIES, ids=lambda family: family.name)
def test_families_of_images(family: VisionFamily, tmp_path: Path) -> None:
    folder = family.save(tmp_path / "model")
    fetched = Fetched(folder.as_uri(), folder=folder)
    found = counted(fetched, imageSize=SIDE)
    real = saved_for_real(fetched, torch.randn(ITEMS, 3, SIDE, SIDE), imageSize=SIDE)
    assert found.constant_bytes + ITEMS * found.of(1).saved_bytes == pytest.approx(
        real, rel=0.1, abs=20_000
    )


def test_vectors() -> None:
    spec = {"projection": {"dim": 8, "hidden": [32]}}
    found = counted(Fetched("mlp://16"), **spec)
    real = saved_for_real(Fetched("mlp://16"), torch.randn(ITEMS, 16), **spec)
    assert found.constant_bytes + ITEMS * found.of(1).saved_bytes == pytest.approx(real, abs=1000)
