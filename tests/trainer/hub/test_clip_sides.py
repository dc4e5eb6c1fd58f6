"""One encoder of a CLIP alone, an encoder that is locked, a temperature that is learnt on."""

import json
from pathlib import Path
from threading import Event

import pytest
import torch
import transformers as hf
from PIL import Image

from embedtune_api.job import FineTuneJob
from embedtune_api.spec import Encoder, Model
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.artifact import verify
from embedtune_trainer.embedder.clip_families import CLIP_FAMILIES, REFUSED
from embedtune_trainer.embedder.load import load_encoder, load_tower
from embedtune_trainer.embedder.pair import build_pair, load_pair, load_side
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.progress import FanOut
from embedtune_trainer.rows.table import Texts
from embedtune_trainer.sources.fetch import Fetched
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from embedtune_trainer.train import run
from tests.trainer import tiny
from tests.trainer.hub import clips
from tests.trainer.hub.test_pair import SOME, TEXTS, inputs_of
from tests.trainer.hub.vision_families import VISION_FAMILIES

URI = "hf://org/clip"
TASKS = {"text-to-text": "text", "image-to-image": "image"}
EACH = pytest.mark.parametrize("make", clips.CLIPS.values(), ids=clips.CLIPS)


def side(folder, task, **model):
    return load_side(Fetched(URI, folder), Model.parse({"backbone": URI, "task": task, **model}), 0)


def encode(embedder):
    return embedder.encode(Texts(TEXTS) if embedder.processor.modality == "text" else SOME)


def trained(folder: Path, data: Path, model: dict) -> Path:
    spec = {"model": model, "training": {"epochs": 1, "batchSize": 16, "learningRate": 1e-3}}
    job = FineTuneJob.parse(tiny.job("", f"file://{data}", f"file://{folder}/out", **spec))
    store = open_storage(StorageSpec(), Event(), RetryPolicy())
    run(job, store, folder / "work", FanOut(()), lambda: False)
    out = folder / "out/default/tiny/local"
    verify(out)
    return out


def rows(folder: Path, *, images: bool, pairs: bool = False) -> Path:
    """40 rows: texts or images of four classes, or texts with images."""
    lines = ["image,text" if pairs else "image,label" if images else "text,label"]
    folder.mkdir(exist_ok=True)
    for i in range(40):
        Image.new("RGB", (40, 40), (i * 6, 255 - i * 6, i % 4 * 80)).save(folder / f"{i}.png")
        first = f"{i}.png" if images else f"the {'abcd'[i % 4]} {i}"
        lines.append(f"{first},{f'the one {i}' if pairs else 'abcd'[i % 4]}")
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@EACH
def test_one_encoder_alone_is_that_of_the_pair(make, tmp_path):
    folder = make(tmp_path / "hub")
    pair = load_pair(Fetched(URI, folder), Model.parse({"backbone": URI}), 0)
    pair.save(tmp_path / "pair")
    for task, name in TASKS.items():
        wanted = encode(getattr(pair, name))
        assert torch.equal(encode(side(folder, task)), wanted)
        assert torch.equal(encode(side(tmp_path / "pair", task)), wanted)


def test_paths_are_those_of_the_pair(tmp_path):
    folder = clips.clip(tmp_path / "hub")
    text = side(folder, "text-to-text", freeze=["text_model.encoder.layers.0", "vision_model"])
    assert text.frozen == ("encoder.layers.0",)
    with pytest.raises(BadSpec, match=r"spec.model.freeze: 'encoder' matches no .*text_model"):
        side(folder, "text-to-text", freeze=["encoder"])
    siglip = clips.siglip(tmp_path / "siglip")
    with pytest.raises(BadSpec, match="nothing is left to train"):
        side(siglip, "image-to-image", freeze=["vision_model"])


@pytest.mark.parametrize("task", TASKS)
def test_runs_of_one_encoder(task, tmp_path):
    base = clips.clip(tmp_path / "clip")
    data = rows(tmp_path, images=task == "image-to-image")
    out = trained(tmp_path, data, {"backbone": f"file://{base}", "task": task})
    alone = load_encoder(Fetched("", out), Encoder.parse({"backbone": URI}), 0)
    assert alone.processor.modality == TASKS[task]
    assert alone.embedding_dim == clips.DIM
    assert (encode(alone) - encode(side(base, task))).abs().max() > 1e-4
    again = trained(tmp_path / "again", data, {"backbone": f"file://{out}"})
    assert not (again / "pair.json").exists()


def test_a_task_that_the_backbone_is_not_for_is_refused(tmp_path, tiny_backbone):
    data = rows(tmp_path, images=True)
    with pytest.raises(BadSpec, match=r"spec.model.task: image-to-image, but the model takes text"):
        trained(tmp_path, data, {"backbone": f"file://{tiny_backbone}", "task": "image-to-image"})


@pytest.fixture
def locked(tmp_path, tiny_backbone):
    """A text encoder that learns, and an image encoder that is frozen as a whole (LiT)."""
    vit = VISION_FAMILIES[0].save(tmp_path / "vit")
    return {
        "text": {"backbone": f"file://{tiny_backbone}", "projection": {"dim": 32}},
        "image": {"backbone": f"file://{vit}", "freeze": ["backbone"]},
    }


def test_a_locked_image_encoder(locked, tmp_path):
    data = rows(tmp_path, images=True, pairs=True)
    before = encode(
        load_encoder(Fetched("", tmp_path / "vit"), Encoder.parse({"backbone": URI}), 0)
    )
    out = trained(tmp_path, data, locked)
    pair = load_pair(Fetched(URI, out), Model.parse({"backbone": URI}), 0)
    assert torch.equal(encode(pair.image), before)
    assert json.loads((out / "training.json").read_text())["report"]["largest_change"] > 0


def test_both_locked_leave_nothing(locked, tmp_path, tiny_backbone):
    text = Encoder.parse({"backbone": URI, "freeze": ["backbone"]})
    image = Encoder.parse(locked["image"])
    towers = (
        load_tower(Fetched("", tiny_backbone), text, 0),
        load_tower(Fetched("", tmp_path / "vit"), image, 0),
    )
    assert not any(p.requires_grad for tower in towers for p in tower.parameters())
    with pytest.raises(BadSpec, match=r"text gives \d+ dim|nothing is left to train"):
        build_pair(*towers)
    with pytest.raises(BadSpec, match="nothing is left to train"):
        load_encoder(Fetched("", tmp_path / "vit"), image, 0)


def test_the_temperature_is_kept_and_learnt_on(tmp_path):
    base = clips.clip(tmp_path / "clip")
    data = rows(tmp_path, images=True, pairs=True)
    first = trained(tmp_path, data, {"backbone": f"file://{base}"})
    learnt = json.loads((first / "pair.json").read_text())["log_scale"]
    assert abs(learnt - 2.5) > 1e-4
    pair = load_pair(Fetched(URI, first), Model.parse({"backbone": URI}), 0).train()
    assert pair.log_scale.item() == learnt
    assert hf.AutoModel.from_pretrained(first / "clip").logit_scale.item() == learnt
    text, image = (
        pair.text(inputs_of(pair.text, Texts(TEXTS))),
        pair.image(inputs_of(pair.image, SOME)),
    )
    pair.similarities(text, image).diagonal().sum().backward()
    assert pair.log_scale.grad != 0
    second = trained(tmp_path / "again", data, {"backbone": f"file://{first}"})
    later = json.loads((second / "pair.json").read_text())["log_scale"]
    assert later != learnt
    assert abs(later - learnt) < 0.05 < abs(later - 2.6592)


def test_all_of_transformers_are_known_or_refused_by_name():
    """Told by the source, since importing every network of transformers takes a minute."""
    found = set()
    for path in (Path(hf.__file__).parent / "models").glob("*/modeling_*.py"):
        source = path.read_text(encoding="utf-8")
        if all(f"def get_{what}_features(" in source for what in ("text", "image")):
            found.add(path.parent.name.replace("_", ""))
    named = {name.replace("-", "").replace("_", "") for name in (*CLIP_FAMILIES, *REFUSED)}
    assert found == named
