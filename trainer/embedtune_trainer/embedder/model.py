"""The embedding model: backbone, pooling, layers behind it; loading, encoding, saving."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from embedtune_api.spec import Model
from embedtune_trainer.embedder.backbone import load_backbone, position_limit
from embedtune_trainer.embedder.freeze import FIELD as FREEZE_FIELD
from embedtune_trainer.embedder.freeze import freeze, keep_frozen
from embedtune_trainer.embedder.layers import Dense, Normalize, new_projection
from embedtune_trainer.embedder.layout import TOKENIZER_FILES, Layout, read_layout, write_layout
from embedtune_trainer.embedder.pooling import Pooling
from embedtune_trainer.embedder.tokens import TextTokenizer, Tokens, load_tokenizer
from embedtune_trainer.errors import BadSpec, Interrupted

POOLING_NAMES = {"mean": "mean", "cls": "cls", "max": "max", "last": "lasttoken"}
LONGEST = 32768
"""Tokens of a text where neither backbone nor tokenizer has a limit, as in the API."""


class Embedder(nn.Module):
    """Tokens to embeddings.

    Attributes:
        tokenizer: texts to tokens.
        frozen: paths of the frozen modules, see freeze.
        embedding_dim: D.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        layout: Layout,
        tokenizer: TextTokenizer,
        tokenizer_files: dict[str, bytes],
        frozen: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = Pooling(layout.pooling)
        self.layers = nn.ModuleList(layout.layers)
        self.tokenizer = tokenizer
        self.frozen = frozen
        self._layout = layout
        self._tokenizer_files = tokenizer_files
        dense = [layer for layer in layout.layers if isinstance(layer, Dense)]
        pooled = len(layout.pooling) * hidden_size(backbone)
        self.embedding_dim = dense[-1].linear.out_features if dense else pooled

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> "Embedder":
        """As nn.Module's, but what is frozen stays in evaluation mode."""
        super().train(mode)
        keep_frozen(self.backbone, self.frozen)
        return self

    def forward(self, tokens: Tokens) -> Tensor:
        """(B, T) tokens to (B, D) embeddings, float32."""
        hidden_BTH = self.backbone(
            input_ids=tokens.ids_BT, attention_mask=tokens.mask_BT, return_dict=True
        ).last_hidden_state
        x_BD: Tensor = self.pooling(hidden_BTH, tokens.mask_BT)
        for layer in self.layers:
            x_BD = layer(x_BD)
        return x_BD.float()

    def encode(
        self,
        texts: Sequence[str],
        batch_size: int = 256,
        stop: Callable[[], bool] = lambda: False,
    ) -> Tensor:
        """(N, D) float32 on the CPU, in the texts' order, in evaluation mode.

        Texts of like length are encoded together. When `stop` says so, it ends early.

        Raises:
            Interrupted: stop() was true.
        """
        table = self.tokenizer.table(texts)
        order_N = np.argsort(-table.lengths_N, kind="stable")
        out_ND = torch.empty((len(texts), self.embedding_dim), dtype=torch.float32)
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                for begin in range(0, len(texts), batch_size):
                    if stop():
                        raise Interrupted("stopped while encoding texts")
                    chosen_B = order_N[begin : begin + batch_size]
                    tokens = self.tokenizer.batch(table, chosen_B, self.device)
                    out_ND[torch.from_numpy(chosen_B)] = self(tokens).cpu()
        finally:
            self.train(was_training)
        return out_ND

    def save(self, folder: Path) -> None:
        """Write a folder that SentenceTransformer(folder) loads and embeds the same with."""
        folder.mkdir(parents=True, exist_ok=True)
        self.backbone.save_pretrained(str(folder), safe_serialization=True)
        for name, content in self._tokenizer_files.items():
            (folder / name).write_bytes(content)
        write_layout(folder, self._layout, hidden_size(self.backbone))


def load_embedder(folder: Path, model: Model, seed: int) -> Embedder:
    """Turn a pre-trained folder into an embedding model as the spec asks.

    Raises:
        UnsupportedModel: the folder cannot be loaded.
        BadSpec: the spec asks for what this model cannot do.
    """
    found = read_layout(folder)
    pooling = found.pooling or ("mean",)
    if model.pooling != "auto":
        pooling = (POOLING_NAMES[model.pooling],)
    backbone = load_backbone(found.transformer, seed)
    layers = _layers(found, model, len(pooling) * hidden_size(backbone), seed)
    tokenizer = load_tokenizer(found.transformer, lower_case=found.lower_case)
    length = _max_length(found, model, tokenizer.model_max_length, position_limit(backbone))
    layout = replace(found, pooling=pooling, layers=layers, max_length=length)
    embedder = Embedder(
        backbone,
        layout,
        TextTokenizer(tokenizer, length, found.prompt),
        {
            name: (found.transformer / name).read_bytes()
            for name in TOKENIZER_FILES
            if (found.transformer / name).is_file()
        },
        freeze(backbone, model.freeze),
    )
    if not any(parameter.requires_grad for parameter in embedder.parameters()):
        raise BadSpec(
            f"{FREEZE_FIELD}: nothing is left to train; freeze less, or add spec.model.projection"
        )
    return embedder.eval()


def hidden_size(backbone: PreTrainedModel) -> int:
    """H, the dimension of a token's vector."""
    return int(backbone.config.hidden_size)


def _layers(found: Layout, model: Model, pooled: int, seed: int) -> tuple[Dense | Normalize, ...]:
    """What stands behind the pooling; a projection takes the place of the folder's own layers."""
    layers: list[Dense | Normalize] = list(found.layers)
    if model.projection is not None:
        layers = [new_projection(pooled, model.projection.dim, seed)]
    while layers and isinstance(layers[-1], Normalize):
        layers.pop()
    width = pooled
    for layer in layers:
        if isinstance(layer, Dense):
            if layer.linear.in_features != width:
                raise BadSpec(
                    f"spec.model.pooling: gives {width} numbers, but the backbone's own linear"
                    f" layer takes {layer.linear.in_features}; leave pooling at auto, or set"
                    " spec.model.projection, which takes that layer's place"
                )
            width = layer.linear.out_features
    said = found.normalize if model.normalize is None else model.normalize
    return tuple([*layers, Normalize()] if said in (True, None) else layers)


def _max_length(found: Layout, model: Model, tokenizer_limit: int, positions: int | None) -> int:
    """Tokens after which a text is cut."""
    if model.max_seq_length is None:
        own = found.max_length or min(tokenizer_limit, LONGEST)
        return min(own, positions or own)
    if positions is not None and model.max_seq_length > positions:
        raise BadSpec(
            f"spec.model.maxSeqLength: {model.max_seq_length} is more than the {positions} tokens"
            " that the backbone can take"
        )
    return model.max_seq_length
