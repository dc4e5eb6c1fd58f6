"""Texts as token numbers: all rows once, before training; batches of them padded when needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers
from torch import Tensor
from transformers import AutoTokenizer

from embedtune_trainer.embedder.packed import Packing
from embedtune_trainer.embedder.processor import Processor
from embedtune_trainer.errors import UnsupportedModel
from embedtune_trainer.rows.columns.growing import Growing
from embedtune_trainer.rows.table import Items, Modality, Texts

VOCABULARIES: Final = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
"""Files one of which every tokenizer has; without any, transformers makes an empty one."""

CHUNK = 4096
"""Texts tokenised at a time, so that Python's lists of them stay small."""


@dataclass(frozen=True)
class Tokens:
    """One padded batch.

    Attributes:
        ids_BT: token numbers.
        mask_BT: 1 where a token is, 0 where padding is.
        packing: where the tokens are, for a network that can be run without padding.
    """

    ids_BT: Tensor
    mask_BT: Tensor
    packing: Packing | None = None

    def to(self, device: torch.device) -> "Tokens":
        """The same on the device."""
        ids_BT, mask_BT = (x.to(device, non_blocking=True) for x in (self.ids_BT, self.mask_BT))
        return Tokens(ids_BT, mask_BT, self.packing and self.packing.to(device))


@dataclass(frozen=True)
class TokenTable:
    """The tokens of many texts, one after the other, in files that are mapped where they are large.

    Attributes:
        ids: token numbers of all texts.
        offsets: where each text begins, and the end: N + 1 numbers.
        full: how many texts fill the longest length there may be, and were mostly cut to it.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    full: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths_N(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self.offsets)

    @classmethod
    def distinct(
        cls, chosen: Sequence[tuple["TokenTable", NDArray[np.int64]]]
    ) -> tuple["TokenTable", NDArray[np.int64]]:
        """The different texts among these items of tables that one tokenizer made.

        Texts of the same tokens are the same, since the encoder cannot tell them apart.

        Returns:
            Their table, and which of its texts each item is, table by table.
        """
        number: dict[bytes, int] = {}
        place_M = [
            number.setdefault(table.ids[begin:end].tobytes(), len(number))
            for table, items in chosen
            for begin, end in zip(
                table.offsets[items].tolist(), table.offsets[items + 1].tolist(), strict=True
            )
        ]
        ids = np.frombuffer(b"".join(number), np.int32)
        sizes = np.fromiter(map(len, number), np.int64, len(number)) // ids.itemsize
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        return cls(ids, offsets, full=0), np.asarray(place_M, np.int64)


class TextTokenizer(Processor):
    """A folder's fast tokenizer.

    Attributes:
        max_length: texts are cut after this many tokens.
        prompt: put before every text, as the folder's default prompt says.
        packs: whether a GPU is told where the tokens are; see packed.
    """

    modality: Modality = "text"

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401  transformers leaves it untyped
        max_length: int,
        prompt: str = "",
        *,
        packs: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.prompt = prompt
        self.packs = packs and tokenizer.padding_side == "right"

    def table(self, items: Items) -> TokenTable:
        """Tokenise texts, special tokens included, cut to max_length."""
        if not isinstance(items, Texts):
            raise TypeError(f"a text encoder cannot take items that are {items.modality}")
        texts = items.values
        ids = Growing(np.int32, texts.scratch)
        offsets = Growing(np.int64, texts.scratch)
        offsets.extend([0])
        full = 0
        for begin in range(0, len(texts), CHUNK):
            chunk = [self.prompt + text for text in texts[begin : begin + CHUNK]]
            rows = self._tokenizer(
                chunk,
                truncation=True,
                max_length=self.max_length,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            lengths = np.fromiter(map(len, rows), np.int64, len(rows))
            offsets.extend(len(ids) + np.cumsum(lengths))
            ids.extend(np.fromiter((i for row in rows for i in row), np.int32, lengths.sum()))
            full += int((lengths >= self.max_length).sum())
        return TokenTable(ids.finish(), offsets.finish(), full)

    def ready(
        self,
        table: TokenTable,
        indices: NDArray[np.int64],
        variation: int | None = None,  # noqa: ARG002  texts are not varied
        *,
        pinned: bool = False,
    ) -> Tokens:
        """These texts, padded to the longest of them on the tokenizer's side."""
        lengths_B = table.lengths_N[indices]
        width = int(lengths_B.max())
        place_T = np.arange(width)
        if self._tokenizer.padding_side == "left":
            mask_BT = place_T >= width - lengths_B[:, None]
        else:
            mask_BT = place_T < lengths_B[:, None]
        ids_BT = np.full(mask_BT.shape, self._tokenizer.pad_token_id, np.int64)
        first_B = table.offsets[indices] - (np.cumsum(lengths_B) - lengths_B)
        ids_BT[mask_BT] = table.ids[np.repeat(first_B, lengths_B) + np.arange(lengths_B.sum())]
        ids, mask = torch.from_numpy(ids_BT), torch.from_numpy(mask_BT.astype(np.int64))
        if not pinned:
            return Tokens(ids, mask)
        packing = Packing.of(mask_BT, lengths_B).pinned() if self.packs else None
        return Tokens(ids.pin_memory(), mask.pin_memory(), packing)


def load_tokenizer(folder: Path, *, lower_case: bool, maker: Any = AutoTokenizer) -> Any:  # noqa: ANN401  transformers leaves them untyped
    """The folder's own fast tokenizer.

    Args:
        folder: where its files lie.
        lower_case: put lower-casing first, as sentence-transformers' do_lower_case does.
        maker: the class of transformers to load it with.

    Raises:
        UnsupportedModel: none there, none that the tokenizers library can run, or one without a
            padding token.
    """
    if not any((folder / name).exists() for name in VOCABULARIES):
        raise UnsupportedModel(
            f"{folder.name}: no tokenizer: none of {', '.join(VOCABULARIES)} is there"
        )
    try:
        tokenizer = maker.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UnsupportedModel(
            f"{folder.name}: the tokenizer cannot be loaded ({str(error).strip().splitlines()[0]});"
            " the folder needs tokenizer.json and tokenizer_config.json"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise UnsupportedModel(
            f"{folder.name}: {type(tokenizer).__name__} has no fast version; save the folder again"
            " with a tokenizer.json"
        )
    if tokenizer.pad_token_id is None:
        raise UnsupportedModel(
            f"{folder.name}: the tokenizer has no padding token; set pad_token in its"
            " tokenizer_config.json"
        )
    if any(tokenizer("a b").get("token_type_ids", [0])):
        raise UnsupportedModel(
            f"{folder.name}: the tokenizer gives a single text token types other than 0"
        )
    if lower_case and "Lowercase" not in repr(tokenizer.backend_tokenizer.normalizer):
        own = tokenizer.backend_tokenizer.normalizer
        tokenizer.backend_tokenizer.normalizer = Normalizers([Lowercase(), *([own] if own else [])])
    return tokenizer
