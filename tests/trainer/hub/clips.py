"""Tiny random checkpoints of CLIP and its kin, saved as the hub lays them out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
import transformers as hf
from tokenizers.pre_tokenizers import ByteLevel

from tests.trainer.hub.vision_families import SIDE, SQUARE, VIT

TEXT: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
}
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
DIM: Final = 20
"""Of what has projections."""


def clip(folder: Path, *, old_end: bool = False) -> Path:
    """A CLIP; with old_end its configuration has the wrong number for the end."""
    tokenizer = clip_tokenizer()
    end = 2 if old_end else tokenizer.eos_token_id
    text = TEXT | {"vocab_size": len(tokenizer), "eos_token_id": end}
    config = hf.CLIPConfig(text_config=text, vision_config=VIT, projection_dim=DIM)
    return _save(folder, tokenizer, hf.CLIPModel, config, _clip_images())


def metaclip(folder: Path) -> Path:
    """A MetaCLIP 2, whose words are XLM-R's."""
    tokenizer = _roberta_tokenizer()
    text = TEXT | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    config = hf.MetaClip2Config(text_config=text, vision_config=VIT, projection_dim=DIM)
    return _save(folder, tokenizer, hf.MetaClip2Model, config, _clip_images())


def aimv2(folder: Path) -> Path:
    """An AIMv2 that was tuned with texts."""
    tokenizer = clip_tokenizer()
    text = TEXT | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    config = hf.Aimv2Config(text_config=text, vision_config=VIT, projection_dim=DIM)
    return _save(folder, tokenizer, hf.Aimv2Model, config, _clip_images())


def altclip(folder: Path) -> Path:
    """An AltCLIP, whose text encoder has a projection of its own in front of CLIP's."""
    tokenizer = _roberta_tokenizer()
    text = TEXT | {"vocab_size": len(tokenizer), "max_position_embeddings": 18, "project_dim": 28}
    config = hf.AltCLIPConfig(text_config=text, vision_config=VIT, projection_dim=DIM)
    return _save(folder, tokenizer, hf.AltCLIPModel, config, _clip_images())


def chinese_clip(folder: Path) -> Path:
    """A Chinese CLIP, whose text encoder is a BERT."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = hf.BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    text = TEXT | {"vocab_size": len(words)}
    config = hf.ChineseCLIPConfig(text_config=text, vision_config=VIT, projection_dim=DIM)
    images = hf.ChineseCLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SQUARE)
    return _save(folder, tokenizer, hf.ChineseCLIPModel, config, images)


def siglip(folder: Path, words: int | None = None) -> Path:
    """A SigLIP of 32 dimensions, whose tokenizer says nothing of where texts end."""
    tokenizer = _t5_tokenizer()
    count = words or len(tokenizer)
    text = TEXT | {"vocab_size": count, "projection_size": 32, "pad_token_id": 0}
    config = hf.SiglipConfig(text_config=text, vision_config=VIT)
    return _save(folder, tokenizer, hf.SiglipModel, config, hf.SiglipImageProcessor(size=SQUARE))


def siglip2(folder: Path) -> Path:
    """A SigLIP 2 for images of any shape, of 16 patches."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *LETTERS]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = hf.Siglip2Tokenizer(vocab=vocabulary, merges=[], padding_side="right")
    text = TEXT | {"vocab_size": len(tokenizer), "projection_size": 32, "pad_token_id": 0}
    image = {key: value for key, value in VIT.items() if key != "image_size"} | {"num_patches": 16}
    config = hf.Siglip2Config(text_config=text, vision_config=image)
    images = hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    return _save(folder, tokenizer, hf.Siglip2Model, config, images)


CLIPS: Final[dict[str, Callable[[Path], Path]]] = {
    "clip": clip,
    "metaclip_2": metaclip,
    "aimv2": aimv2,
    "altclip": altclip,
    "chinese_clip": chinese_clip,
    "siglip": siglip,
    "siglip2": siglip2,
}
"""By their model_type."""


def _save(folder: Path, tokenizer: Any, model: Any, config: Any, images: Any) -> Path:
    """With a temperature, and a bias where there is one, that no default has."""
    torch.manual_seed(0)
    network = model(config)
    torch.nn.init.constant_(network.logit_scale, 2.5)
    if hasattr(network, "logit_bias"):
        torch.nn.init.constant_(network.logit_bias, -7.5)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    images.save_pretrained(folder)
    return folder


def _clip_images() -> Any:
    return hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SQUARE)


def clip_tokenizer() -> Any:
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {w: i for i, w in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return hf.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)


def _roberta_tokenizer() -> Any:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, "<mask>"]
    vocabulary = [(piece, -float(i)) for i, piece in enumerate(pieces)]
    return hf.XLMRobertaTokenizer(vocab=vocabulary, model_max_length=16)


def _t5_tokenizer() -> Any:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *LETTERS]
    vocabulary = [(piece, -float(i)) for i, piece in enumerate(pieces)]
    return hf.T5Tokenizer(vocab=vocabulary, extra_ids=0)
