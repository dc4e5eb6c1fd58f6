"""Text encoders: sentence-transformers and Hugging Face folders, in and out."""

from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own, assemble
from embedtune_trainer.embedder.backbone import (
    in_auto_model,
    load_backbone,
    position_limit,
    token_dim,
    usual_pooling,
)
from embedtune_trainer.embedder.features import Backbone, Feature
from embedtune_trainer.embedder.layers import saved_layers
from embedtune_trainer.embedder.layout import TOKENIZER_FILES, Layout, read_layout, write_layout
from embedtune_trainer.embedder.lora import save_merged
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.packed import first_position, run_packed
from embedtune_trainer.embedder.pooling import GEM
from embedtune_trainer.embedder.saved import SETTINGS, read_text, write_text
from embedtune_trainer.embedder.text_cut import end_after
from embedtune_trainer.embedder.tokens import TextTokenizer, Tokens, load_tokenizer
from embedtune_trainer.errors import BadSpec

LONGEST = 32768
"""Tokens of a text where neither backbone nor tokenizer has a limit, as in the API."""


class TextBackbone(Backbone):
    """A transformer over tokens."""

    network: PreTrainedModel

    def __init__(self, network: PreTrainedModel, feature_dim: int) -> None:
        super().__init__(network, feature_dim)
        self.first_position = first_position(network)

    def forward(self, inputs: Tokens) -> Feature:
        """(B, T) tokens to (B, T, H); without padding in half precision on a GPU."""
        packing, first = inputs.packing, self.first_position
        if (
            packing is not None
            and first is not None
            and torch.is_autocast_enabled(inputs.ids_BT.device.type)
            and not torch.compiler.is_compiling()
        ):
            hidden_BTH = run_packed(self.network, inputs.ids_BT, packing, first)
            return Feature(hidden_BTH, inputs.mask_BT)
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
    own = None
    if (folder / SETTINGS).exists():
        found, own = read_text(folder)
    network = load_backbone(found.transformer, seed)
    return text_embedder(network, found, encoder, seed, own)


def text_embedder(
    network: PreTrainedModel,
    found: Layout,
    encoder: Encoder,
    seed: int,
    own: Own | None = None,
) -> Embedder:
    """The rest of the way, for a network that is loaded already.

    Args:
        network: gives token vectors.
        found: what its folder says besides its weights, and where the tokenizer is.
        encoder: what the spec says.
        seed: of new layers.
        own: pooling and layers, where it is not `found` that says them.

    Raises:
        UnsupportedModel: there is no tokenizer that can be used.
        BadSpec: the spec asks for what this model cannot do.
    """
    if encoder.cut != "auto":
        end_after(network, encoder.cut)
    backbone = TextBackbone(network, token_dim(network.config))
    tokenizer = load_tokenizer(found.transformer, lower_case=found.lower_case)
    length = _max_length(found, encoder, tokenizer.model_max_length, position_limit(network))
    files = {
        name: (found.transformer / name).read_bytes()
        for name in TOKENIZER_FILES
        if (found.transformer / name).is_file()
    }

    def write(embedder: Embedder, target: Path) -> None:
        save_merged(network, target)
        for name, content in files.items():
            (target / name).write_bytes(content)
        layers = tuple(saved_layers(list(embedder.layers)))
        modes = embedder.pooling.modes
        layout = replace(found, pooling=modes, layers=layers, max_length=length)
        if GEM in modes or not in_auto_model(type(network.config)):
            # which sentence-transformers does not have
            write_text(embedder, layout, target)
        else:
            write_layout(target, layout, backbone.feature_dim)

    return assemble(
        backbone,
        own
        or Own("text", found.pooling or (usual_pooling(network),), found.layers, found.normalize),
        encoder,
        seed,
        processor=TextTokenizer(
            tokenizer, length, found.prompt, packs=backbone.first_position is not None
        ),
        write=write,
    )


def _max_length(
    found: Layout, encoder: Encoder, tokenizer_limit: int, positions: int | None
) -> int:
    """Tokens after which a text is cut."""
    if encoder.max_seq_length is None:
        own = found.max_length or min(tokenizer_limit, LONGEST)
        return min(own, positions or own)
    check_length(encoder, positions)
    return encoder.max_seq_length


def check_length(encoder: Encoder, positions: int | None) -> None:
    """Refuse a maxSeqLength that the backbone has no positions for.

    Raises:
        BadSpec: it is more.
    """
    wanted = encoder.max_seq_length
    if wanted is not None and positions is not None and wanted > positions:
        raise BadSpec(
            f"spec.model.maxSeqLength: {wanted} is more than the {positions} tokens that the"
            " backbone can take"
        )
