"""Tiny random text models of the usual families, saved as the hub lays them out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from tests.trainer.tiny import CLASSES, FILLERS

WORDS = [*FILLERS, *(word for words in CLASSES.values() for word in words)]
LAST = "<|endoftext|>"
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
DECODER: dict[str, Any] = SIZES | {"num_key_value_heads": 1, "tie_word_embeddings": False}


@dataclass(frozen=True)
class TextFamily:
    """How one family is made, and what is expected of it.

    Attributes:
        name: what people call it.
        network: the class that loading gives.
        checkpoint: the class that is saved, with a head that is to be left out.
        config: of the tiny model, without its vocabulary.
        tokenizer: its words.
        pooling: what auto means where the folder says nothing.
        why: the reason.
    """

    name: str
    network: str
    checkpoint: str
    config: hf.PretrainedConfig
    tokenizer: Callable[[], Any]
    pooling: str
    why: str

    def save(self, folder: Path) -> Path:
        """Weights with a head, configuration and tokenizer."""
        torch.manual_seed(0)
        tokenizer = self.tokenizer()
        tokenizer.save_pretrained(folder)
        self.config.vocab_size = len(tokenizer)
        self.config.pad_token_id = tokenizer.pad_token_id
        getattr(hf, self.checkpoint)(self.config).save_pretrained(folder)
        return folder


def _wordpiece(kind: Any, *special: str) -> Any:
    return kind(vocab={word: i for i, word in enumerate([*special, *WORDS])})


def _bert() -> Any:
    return _wordpiece(hf.BertTokenizer, "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def _mpnet() -> Any:
    return _wordpiece(hf.MPNetTokenizer, "<s>", "<pad>", "</s>", "[UNK]", "<mask>")


def _bytes(*special: str) -> dict[str, int]:
    return {token: i for i, token in enumerate([*special, *sorted(ByteLevel.alphabet())])}


def _roberta() -> Any:
    vocabulary = _bytes("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    return hf.RobertaTokenizer(vocab=vocabulary, merges=[])


def _xlm_roberta() -> Any:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁{word}" for word in WORDS), "▁", "<mask>"]
    return hf.XLMRobertaTokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)])


def _qwen(side: str) -> Callable[[], Any]:
    def make() -> Any:
        tokenizer = hf.Qwen2Tokenizer(vocab=_bytes(LAST), merges=[], padding_side=side)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"$A {LAST}", special_tokens=[(LAST, 0)]
        )
        return tokenizer

    return make


_ENCODER = "an encoder whose folder says nothing, as in sentence-transformers"
_DECODER = "a causal decoder: only the last token has seen the whole text"

TEXT_FAMILIES = (
    TextFamily(
        "BERT", "BertModel", "BertForMaskedLM", hf.BertConfig(**SIZES), _bert, "mean", _ENCODER
    ),
    TextFamily(
        "E5 (BERT)",
        "BertModel",
        "BertForSequenceClassification",
        hf.BertConfig(**SIZES),
        _bert,
        "mean",
        _ENCODER,
    ),
    TextFamily(
        "RoBERTa",
        "RobertaModel",
        "RobertaForMaskedLM",
        hf.RobertaConfig(**SIZES),
        _roberta,
        "mean",
        _ENCODER,
    ),
    TextFamily(
        "XLM-RoBERTa, multilingual E5",
        "XLMRobertaModel",
        "XLMRobertaForMaskedLM",
        hf.XLMRobertaConfig(**SIZES),
        _xlm_roberta,
        "mean",
        _ENCODER,
    ),
    TextFamily(
        "MPNet", "MPNetModel", "MPNetForMaskedLM", hf.MPNetConfig(**SIZES), _mpnet, "mean", _ENCODER
    ),
    TextFamily(
        "DistilBERT",
        "DistilBertModel",
        "DistilBertForMaskedLM",
        hf.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64),
        _bert,
        "mean",
        _ENCODER,
    ),
    TextFamily(
        "ModernBERT",
        "ModernBertModel",
        "ModernBertForMaskedLM",
        hf.ModernBertConfig(**SIZES, local_attention=8),
        _bert,
        "mean",
        _ENCODER,
    ),
    TextFamily(
        "Qwen2, padding on the left",
        "Qwen2Model",
        "Qwen2ForCausalLM",
        hf.Qwen2Config(**DECODER),
        _qwen("left"),
        "lasttoken",
        _DECODER,
    ),
    TextFamily(
        "Qwen3, padding on the right",
        "Qwen3Model",
        "Qwen3ForCausalLM",
        hf.Qwen3Config(**DECODER, head_dim=16),
        _qwen("right"),
        "lasttoken",
        _DECODER,
    ),
)
