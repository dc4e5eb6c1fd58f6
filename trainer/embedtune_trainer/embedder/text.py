"""Text encoders: sentence-transformers and Hugging Face folders, in and out."""

from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.backbone import load_backbone, position_limit
from embedtune_trainer.embedder.features import Backbone, Feature
from embedtune_trainer.embedder.freeze import freeze_backbone
from embedtune_trainer.embedder.layers import Dense, Normalize, new_projection
from embedtune_trainer.embedder.layout import TOKENIZER_FILES, Layout, read_layout, write_layout
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.pooling import Pooling
from embedtune_trainer.embedder.tokens import TextTokenizer, Tokens, load_tokenizer
from embedtune_trainer.errors import BadSpec

POOLING_NAMES = {
    "mean": "mean",
    "cls": "cls",
    "max": "max",
    "last": "lasttoken",
    "weightedMean": "weightedmean",
}
LONGEST = 32768
"""Tokens of a text where neither backbone nor tokenizer has a limit, as in the API."""


class TextBackbone(Backbone):
    """A transformer over tokens."""

    network: PreTrainedModel

    def forward(self, inputs: Tokens) -> Feature:
        """(B, T) tokens to (B, T, H)."""
        hidden_BTH = self.network(
            input_ids=inputs.ids_BT, attention_mask=inputs.mask_BT, return_dict=True
        ).last_hidden_state
        return Feature(hidden_BTH, inputs.mask_BT)


def load_text_encoder(folder: Path, encoder: Encoder, seed: int) -> Embedder:
    """Turn a pre-trained folder into an embedding model as the spec asks.

    Raises:
        UnsupportedModel: the folder cannot be loaded.
        BadSpec: the spec asks for what this model cannot do.
    """
    found = read_layout(folder)
    pooling = found.pooling or ("mean",)
    if encoder.pooling != "auto":
        if encoder.pooling not in POOLING_NAMES:
            raise BadSpec(
                f"spec.model.pooling: {encoder.pooling} is not for the tokens of a text; use"
                f" {', '.join(POOLING_NAMES)}"
            )
        pooling = (POOLING_NAMES[encoder.pooling],)
    network = load_backbone(found.transformer, seed)
    backbone = TextBackbone(network, int(network.config.hidden_size))
    layers = _layers(found, encoder, len(pooling) * backbone.feature_dim, seed)
    tokenizer = load_tokenizer(found.transformer, lower_case=found.lower_case)
    length = _max_length(found, encoder, tokenizer.model_max_length, position_limit(network))
    layout = replace(found, pooling=pooling, layers=layers, max_length=length)
    files = {
        name: (found.transformer / name).read_bytes()
        for name in TOKENIZER_FILES
        if (found.transformer / name).is_file()
    }

    def write(_: Embedder, target: Path) -> None:
        network.save_pretrained(str(target), safe_serialization=True)
        for name, content in files.items():
            (target / name).write_bytes(content)
        write_layout(target, layout, backbone.feature_dim)

    dense = [layer for layer in layers if isinstance(layer, Dense)]
    return Embedder(
        backbone,
        Pooling(pooling),
        layers,
        TextTokenizer(tokenizer, length, found.prompt),
        embedding_dim=dense[-1].linear.out_features
        if dense
        else len(pooling) * backbone.feature_dim,
        frozen=freeze_backbone(network, encoder),
        write=write,
    ).eval()


def _layers(
    found: Layout, encoder: Encoder, pooled: int, seed: int
) -> tuple[Dense | Normalize, ...]:
    """What stands behind the pooling; a projection takes the place of the folder's own layers."""
    layers: list[Dense | Normalize] = list(found.layers)
    if encoder.projection is not None:
        layers = [new_projection(pooled, encoder.projection.dim, seed)]
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
    said = found.normalize if encoder.normalize is None else encoder.normalize
    return tuple([*layers, Normalize()] if said in (True, None) else layers)


def _max_length(
    found: Layout, encoder: Encoder, tokenizer_limit: int, positions: int | None
) -> int:
    """Tokens after which a text is cut."""
    if encoder.max_seq_length is None:
        own = found.max_length or min(tokenizer_limit, LONGEST)
        return min(own, positions or own)
    if positions is not None and encoder.max_seq_length > positions:
        raise BadSpec(
            f"spec.model.maxSeqLength: {encoder.max_seq_length} is more than the {positions} tokens"
            " that the backbone can take"
        )
    return encoder.max_seq_length
