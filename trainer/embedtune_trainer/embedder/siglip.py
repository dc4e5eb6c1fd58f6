"""SigLIP's text encoder (Zhai et al. 2023): texts padded to one length, the padding read as well.

Texts are lower-cased, as its training did. The tokenizer of SigLIP's first version also takes out
punctuation; transformers has it in Python alone, here it is done by the tokenizers library.
"""

import json
import re
import string
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import Regex
from tokenizers.normalizers import Replace, Strip
from tokenizers.normalizers import Sequence as Normalizers
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerFast as AnyTokenizer

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.assemble import Own, assemble
from embedtune_trainer.embedder.backbone import load_backbone
from embedtune_trainer.embedder.features import Backbone, Feature
from embedtune_trainer.embedder.layout import TOKENIZER_FILES
from embedtune_trainer.embedder.lora import save_merged
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.embedder.pieces import PIECES, FromPieces
from embedtune_trainer.embedder.saved import (
    SETTINGS,
    own_of,
    read_settings,
    read_weights,
    write_settings,
    write_weights,
)
from embedtune_trainer.embedder.tokens import TextTokenizer, Tokens, TokenTable, load_tokenizer
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.rows.table import Items

SIGLIP_TEXT: Final = "siglip-text"
FIRST: Final = "SiglipTokenizer"
"""The tokenizer class of SigLIP's first version."""


def is_siglip_text(folder: Path) -> bool:
    """Whether a folder is a SigLIP text encoder that embedtune saved."""
    return (folder / SETTINGS).exists() and read_settings(folder).get("kind") == SIGLIP_TEXT


def load_siglip_text(folder: Path, encoder: Encoder, seed: int) -> Embedder:
    """A SigLIP text encoder that embedtune saved.

    Raises:
        UnsupportedModel: it is broken.
    """
    layers = read_weights(folder, network=False)["layers"]
    own = own_of(read_settings(folder), layers, "vector", cls=False)
    return siglip_text(load_backbone(folder, seed), folder, own, encoder, seed)


class SiglipTextBackbone(Backbone):
    """SigLIP's text transformer with the projection that belongs to it."""

    network: PreTrainedModel

    def forward(self, inputs: Tokens) -> Feature:
        """(B, T) tokens, padding included, to (B, H)."""
        return Feature(self.network(input_ids=inputs.ids_BT, return_dict=True).pooler_output)


class FullLengthTokenizer(TextTokenizer):
    """Every text padded to max_length; the network reads the padding, too (Zhai et al. 2023)."""

    def table(self, items: Items) -> TokenTable:
        """Tokens of all texts, max_length each."""
        found = super().table(items)
        count = len(found)
        ids_NT = np.full((count, self.max_length), self._tokenizer.pad_token_id, np.int32)
        place_T, lengths_N1 = np.arange(self.max_length), found.lengths_N[:, None]
        left = self._tokenizer.padding_side == "left"
        ids_NT[place_T >= self.max_length - lengths_N1 if left else place_T < lengths_N1] = (
            found.ids
        )
        offsets = np.arange(count + 1, dtype=np.int64) * self.max_length
        return TokenTable(ids_NT.reshape(-1), offsets, found.full)


def siglip_text(
    network: PreTrainedModel, folder: Path, own: Own, encoder: Encoder, seed: int
) -> Embedder:
    """SigLIP's texts' half, for a network that is loaded already.

    Args:
        network: with its projection.
        folder: where its tokenizer is.
        own: what stands behind it.
        encoder: what the spec says.
        seed: of new layers.

    Raises:
        UnsupportedModel: there is no tokenizer that can be used.
        BadSpec: the spec asks for what this model cannot do.
    """
    config: Any = network.config
    length = fixed_length(network, encoder)
    tokenizer = _tokenizer(folder)
    files = {n: (folder / n).read_bytes() for n in TOKENIZER_FILES if (folder / n).is_file()}

    def write(embedder: Embedder, target: Path) -> None:
        save_merged(network, target)
        for name, content in files.items():
            (target / name).write_bytes(content)
        write_settings(target, embedder, {"kind": SIGLIP_TEXT})
        write_weights(target, embedder, network=False)

    return assemble(
        SiglipTextBackbone(network, int(config.projection_size)),
        own,
        encoder,
        seed,
        processor=FullLengthTokenizer(tokenizer, length),
        write=write,
    )


def fixed_length(network: PreTrainedModel, encoder: Encoder) -> int:
    """Tokens of every text.

    Raises:
        BadSpec: the spec asks for another length, or for a cut.
    """
    length = int(network.config.max_position_embeddings)
    if encoder.max_seq_length not in (None, length):
        raise BadSpec(
            f"spec.model.maxSeqLength: SigLIP reads every text at {length} tokens; leave it out"
        )
    if encoder.cut != "auto":
        raise BadSpec("spec.model.cut: SigLIP's encoder of texts has its own; leave it at auto")
    return length


def _tokenizer(folder: Path) -> Any:  # noqa: ANN401  transformers leaves it untyped
    path = folder / "tokenizer_config.json"
    kind = json.loads(path.read_text()).get("tokenizer_class") if path.exists() else None
    if str(kind).removesuffix("Fast") != FIRST:
        return load_tokenizer(folder, lower_case=True)
    pieces_alone = (folder / PIECES).exists() and not (folder / "tokenizer.json").exists()
    maker: Any = FromPieces if pieces_alone else AnyTokenizer
    tokenizer = load_tokenizer(folder, lower_case=True, maker=maker)
    backend = tokenizer.backend_tokenizer
    spaces, marks = Regex(r"\s+"), Regex(f"[{re.escape(string.punctuation)}]")
    plain = [Replace(marks, ""), Replace(spaces, " "), Strip()]
    backend.normalizer = Normalizers([*plain, backend.normalizer])
    return tokenizer
