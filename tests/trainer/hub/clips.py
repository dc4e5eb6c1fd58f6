"""Tiny random CLIP and SigLIP checkpoints, saved as the hub lays them out."""

from pathlib import Path
from typing import Any

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


def clip(folder: Path, *, old_end: bool = False) -> Path:
    """A CLIP of 20 dimensions; with old_end its configuration has the wrong number for the end."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {w: i for i, w in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = hf.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)
    tokenizer.save_pretrained(folder)
    end = 2 if old_end else tokenizer.eos_token_id
    text = TEXT | {"vocab_size": len(vocabulary), "eos_token_id": end}
    torch.manual_seed(0)
    config = hf.CLIPConfig(text_config=text, vision_config=VIT, projection_dim=20)
    model = hf.CLIPModel(config)
    torch.nn.init.constant_(model.logit_scale, 3.25)
    model.save_pretrained(folder)
    processor = hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SQUARE)
    processor.save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    """A SigLIP of 32 dimensions, whose tokenizer says nothing of where texts end."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = hf.T5Tokenizer(
        vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0
    )
    tokenizer.save_pretrained(folder)
    text = TEXT | {"vocab_size": len(tokenizer), "projection_size": 32, "pad_token_id": 0}
    torch.manual_seed(0)
    model = hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=VIT))
    torch.nn.init.constant_(model.logit_scale, 2.5)
    torch.nn.init.constant_(model.logit_bias, -7.5)
    model.save_pretrained(folder)
    hf.SiglipImageProcessor(size=SQUARE).save_pretrained(folder)
    return folder
