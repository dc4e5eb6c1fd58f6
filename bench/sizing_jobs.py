"""The jobs that bench/sizing.py runs: real and random backbones, batches, freezing, data of a kind.

Each is small enough for a minute on two cores and 4 GB. Random backbones have the shapes of real
ones; what memory a network takes does not depend on its weights' values.
"""

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from localassets import arxiv_pairs, efficientnet_lite0, minilm, mobilenet_v2, trec

JsonObject = dict[str, Any]
TOKENIZER: Final = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
SEED: Final = 0


@dataclass(frozen=True)
class Case:
    """One job.

    Attributes:
        name: in the table.
        model: spec.model.
        train: the data's path.
        training: spec.training, beyond one epoch.
        limit: rows at most.
        formats: of the model.
        checkpoints: spec.runPolicy.checkpoints.
    """

    name: str
    model: JsonObject
    train: Path
    training: JsonObject
    limit: int = 200
    formats: tuple[str, ...] = ("safetensors",)
    checkpoints: JsonObject = field(default_factory=dict)

    def job(self, output: Path) -> JsonObject:
        """The FineTuneJob."""
        spec: JsonObject = {
            "model": self.model,
            "data": {"train": {"uri": self.train.as_uri(), "limit": self.limit}},
            "training": {"epochs": 1, **self.training},
            "output": {"uri": output.as_uri(), "formats": list(self.formats)},
            "runPolicy": {"checkpoints": self.checkpoints},
        }
        return {
            "apiVersion": "embedtune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "sized"},
            "spec": spec,
        }


def cases(folder: Path) -> Iterator[Case]:
    """All of them, with what they need made in the folder."""
    text, questions, papers = {"backbone": minilm().as_uri()}, trec().train, arxiv_pairs().train
    yield Case("MiniLM, questions", text, questions, {"batchSize": 64}, 146)
    yield Case("MiniLM, questions, batch of 256", text, questions, {"batchSize": 256}, 580)
    yield Case(
        "MiniLM, questions, 400 steps, a checkpoint every 5",
        text,
        questions,
        {"batchSize": 16, "epochs": 40},
        checkpoints={"everySteps": 5},
    )
    yield Case("MiniLM, pairs of papers", text, papers, {"batchSize": 16}, 40)
    yield Case(
        "MiniLM, pairs of papers, micro-batch of 4",
        text,
        papers,
        {"batchSize": 32, "microBatch": 4},
        72,
    )
    frozen = {**text, "freeze": ["embeddings", "encoder.layer.[0-3]"]}
    yield Case("MiniLM, four layers frozen", frozen, papers, {"batchSize": 16}, 40)
    yield Case("MiniLM, LoRA", {**text, "lora": {"rank": 8}}, papers, {"batchSize": 16}, 40)
    head = {**text, "freeze": ["backbone"], "projection": {"dim": 128}}
    yield Case("MiniLM frozen, projection", head, papers, {"batchSize": 32}, 72)
    yield Case(
        "MiniLM, average and best weights, ONNX",
        text,
        questions,
        {"batchSize": 64, "ema": {}, "keepBest": {}},
        146,
        ("safetensors", "onnx"),
    )
    large = {"backbone": bert(folder / "bert-base", 12, 768).as_uri()}
    yield Case("BERT-base, questions", large, questions, {"batchSize": 32}, 72)
    yield Case("BERT-base, LoRA", {**large, "lora": {"rank": 8}}, papers, {"batchSize": 8}, 20)
    pictures = class_folders(folder / "pictures", 8, 24)
    yield Case(
        "MobileNetV2, images",
        library("mobilenet_v2", mobilenet_v2(), folder),
        pictures,
        {"batchSize": 32},
        72,
    )
    resnet = library("resnet18", None, folder)
    yield Case("ResNet-18, images", resnet, pictures, {"batchSize": 32}, 72)
    yield Case(
        "ResNet-18 frozen, projection",
        {**resnet, "freeze": ["backbone"], "projection": {"dim": 64}},
        pictures,
        {"batchSize": 64},
    )
    lite = {"backbone": "timm://tf_efficientnet_lite0", "weights": efficientnet_lite0().as_uri()}
    yield Case("EfficientNet-Lite0, images, batch of 16", lite, pictures, {"batchSize": 16}, 40)
    yield Case(
        "ViT-S, images",
        {"backbone": vit(folder / "vit").as_uri()},
        pictures,
        {"batchSize": 32},
        72,
    )
    pairs = captions(folder / "captions.csv", pictures)
    yield Case(
        "CLIP (small), captions",
        {"backbone": clip(folder / "clip").as_uri()},
        pairs,
        {"batchSize": 32},
        72,
    )
    yield Case(
        "vectors, a projection",
        {"backbone": "mlp://512", "projection": {"dim": 128, "hidden": [512]}},
        vectors(folder / "vectors.jsonl", 5_000, 512),
        {"batchSize": 256},
        5_000,
    )


def library(name: str, weights: Path | None, folder: Path) -> JsonObject:
    """A network of torchvision; random, with its weights in the folder, without any."""
    import torch
    import torchvision

    if weights is None:
        weights = folder / f"{name}.pth"
        torch.manual_seed(SEED)
        torch.save(torchvision.models.get_model(name).state_dict(), weights)
    return {"backbone": f"torchvision://{name}", "weights": weights.as_uri()}


def bert(folder: Path, layers: int, width: int) -> Path:
    """A random BERT with MiniLM's tokenizer."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
    )
    BertModel(config).save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copy(minilm() / name, folder)
    return folder


def vit(folder: Path) -> Path:
    """A random ViT-S/16."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    config = ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)
    return folder


def clip(folder: Path) -> Path:
    """A random CLIP of six layers a side, 224 pixels in patches of 32."""
    import transformers as hf
    from tokenizers.pre_tokenizers import ByteLevel

    side = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4}
    side |= {"intermediate_size": 1024}
    letters = sorted(ByteLevel.alphabet())
    known = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(known)}
    words = hf.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)
    text = side | {"vocab_size": len(words), "eos_token_id": words.eos_token_id}
    text |= {"max_position_embeddings": 16}
    config = hf.CLIPConfig(text_config=text, vision_config=side, projection_dim=256)
    hf.CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    hf.CLIPImageProcessor().save_pretrained(folder)
    return folder


def class_folders(folder: Path, classes: int, each: int) -> Path:
    """JPEG files of 320 x 240 pixels in a folder for each class."""
    random = np.random.default_rng(SEED)
    for label in range(classes):
        place = folder / f"class-{label}"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(each):
            coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
            picture.save(place / f"{number}.jpg")
    return folder


def captions(path: Path, pictures: Path) -> Path:
    """A text for each picture."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "image"))
        for number, picture in enumerate(sorted(pictures.rglob("*.jpg"))):
            writer.writerow((f"picture {number}", picture.relative_to(path.parent).as_posix()))
    return path


def vectors(path: Path, count: int, dim: int) -> Path:
    """Labelled vectors."""
    random = np.random.default_rng(SEED)
    with path.open("w") as stream:
        for number, vector in enumerate(random.standard_normal((count, dim)).round(3)):
            numbers = ",".join(f"{x:g}" for x in vector)
            stream.write(f'{{"item": [{numbers}], "label": "{number % 50}"}}\n')
    return path
