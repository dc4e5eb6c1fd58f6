"""Texts of a batch in one row, without padding, where a GPU's attention can tell them apart.

A padded batch is calculated at all its places, padding too, and where texts differ in length the
batch is cut into parts, each of which a GPU starts anew. Packed, the tokens of all texts follow one
another; attention is that of torch's jagged tensors, in which each token sees its own text alone,
and everything else in these networks looks at one token at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nested import nested_tensor_from_jagged
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

ATTENTION: Final = "embedtune_packed"
"""By which transformers calls `_attention`."""
FIRST_POSITION: Final = {"bert": 0, "electra": 0, "roberta": 2, "xlm-roberta": 2, "camembert": 2}
"""Kinds of networks in which nothing but attention looks at other tokens, and the number of a
text's first position in each; RoBERTa's begin after its padding token, of number 1."""


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a padded batch are.

    Attributes:
        place_N: of each token, text by text, in the flattened batch.
        position_N: of each token, in its text.
        offset_B1: where each text begins among the N, and the end: B + 1 numbers.
        shortest: tokens of a text.
        longest: tokens of a text.
    """

    place_N: Tensor
    position_N: Tensor
    offset_B1: Tensor
    shortest: int
    longest: int

    @classmethod
    def of(cls, mask_BT: NDArray[np.bool_], lengths_B: NDArray[np.int64]) -> "Packing":
        """Of texts of these lengths, at the places that the mask has."""
        ends_B = np.cumsum(lengths_B)
        position_N = np.arange(ends_B[-1]) - np.repeat(ends_B - lengths_B, lengths_B)
        place, position, offset = (
            torch.from_numpy(x)
            for x in (np.flatnonzero(mask_BT), position_N, np.concatenate(([0], ends_B)))
        )
        return cls(place, position, offset, int(lengths_B.min()), int(lengths_B.max()))

    def pinned(self) -> "Packing":
        """The same in memory that a GPU copies from while it calculates."""
        place, position, offset = (
            x.pin_memory() for x in (self.place_N, self.position_N, self.offset_B1)
        )
        return Packing(place, position, offset, self.shortest, self.longest)

    def to(self, device: torch.device) -> "Packing":
        """The same on the device."""
        place, position, offset = (
            x.to(device, non_blocking=True) for x in (self.place_N, self.position_N, self.offset_B1)
        )
        return Packing(place, position, offset, self.shortest, self.longest)


def first_position(network: PreTrainedModel) -> int | None:
    """The number of a text's first position; None for a network that cannot be packed."""
    config = network.config
    first = FIRST_POSITION.get(config.model_type)
    if first is None or getattr(config, "is_decoder", False):
        return None
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        return None
    return None if first and config.pad_token_id != first - 1 else first


def run_packed(network: PreTrainedModel, ids_BT: Tensor, packing: Packing, first: int) -> Tensor:
    """(B, T, H) of the tokens, 0 where padding is.

    Args:
        network: one that `first_position` knows.
        ids_BT: token numbers, padded.
        packing: where the tokens are, on the device.
        first: see first_position.
    """
    ids_1N = ids_BT.flatten()[packing.place_N].unsqueeze(0)
    position_1N = (packing.position_N + first).unsqueeze(0)
    with _apart(network, packing):
        hidden_1NH = network(
            input_ids=ids_1N, position_ids=position_1N, return_dict=True
        ).last_hidden_state
    hidden_NH: Tensor = hidden_1NH.squeeze(0)
    flat_PH = hidden_NH.new_zeros(ids_BT.numel(), hidden_NH.shape[1])
    return flat_PH.index_copy(0, packing.place_N, hidden_NH).view(*ids_BT.shape, -1)


_packing: ContextVar[Packing] = ContextVar("packing")


@contextmanager
def _apart(network: PreTrainedModel, packing: Packing) -> Iterator[None]:
    """Tokens see their own text alone within."""
    before = network.config._attn_implementation
    token = _packing.set(packing)
    network.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        network.config._attn_implementation = before
        _packing.reset(token)


def _attention(
    module: nn.Module,  # noqa: ARG001  as transformers calls it
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,  # noqa: ANN401
) -> tuple[Tensor, None]:
    """(1, heads, N, H) of each to (1, N, heads, H)."""
    packing = _packing.get()

    def jagged(x: Tensor) -> Tensor:
        values_NAH = x.squeeze(0).transpose(0, 1)
        lengths = packing.shortest, packing.longest
        made: Tensor = nested_tensor_from_jagged(
            values_NAH, packing.offset_B1, min_seqlen=lengths[0], max_seqlen=lengths[1]
        )
        return made.transpose(1, 2)

    seen = scaled_dot_product_attention(
        jagged(query), jagged(key), jagged(value), dropout_p=dropout, scale=scaling
    )
    return seen.transpose(1, 2).values().unsqueeze(0), None


AttentionInterface.register(ATTENTION, _attention)
