"""What an encoder remembers of its items for the way back, counted without weights or numbers.

The encoder runs on fake tensors, which have shapes and storages but no memory behind them, in
training mode and as it will be trained: frozen modules, adapters, bfloat16. What autograd saves is
counted as it is on a real run, each storage once. Two batches and two lengths give the share of a
token, that of a pair of tokens (attention), and what does not depend on the items.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from embedtune_trainer.embedder.analysis import Bare
from embedtune_trainer.embedder.freeze import keep_frozen
from embedtune_trainer.embedder.mlp import VectorBackbone
from embedtune_trainer.embedder.siglip import SiglipTextBackbone
from embedtune_trainer.embedder.text import TextBackbone
from embedtune_trainer.embedder.tokens import Tokens
from embedtune_trainer.errors import UnsupportedModel

SMALL: Final = 2
LARGE: Final = 4
"""Items in the batches that are run."""
LONGEST: Final = 512
"""Tokens of the longest texts that are run; what more cost follows from these."""


@dataclass(frozen=True)
class Cost:
    """Of one item.

    Attributes:
        saved_bytes: what autograd keeps of it until the way back.
        largest_bytes: the largest tensor that is made on the way.
        flops: of the way there.
    """

    saved_bytes: float
    largest_bytes: float
    flops: float


@dataclass(frozen=True)
class Activations:
    """What an encoder costs by the length of its items, besides its weights.

    Attributes:
        constant_bytes: that does not depend on the items: weights cast to bfloat16.
        linear: of each token; of an image or a vector all.
        quadratic: of each pair of tokens.
        fixed_length: tokens that every text is padded to; None: those of the longest beside it.
    """

    constant_bytes: float
    linear: Cost
    quadratic: Cost
    fixed_length: int | None = None

    def of(self, tokens: float) -> Cost:
        """An item of so many tokens; of an image or a vector, 1."""
        each, pair = self.linear, self.quadratic
        return Cost(
            each.saved_bytes * tokens + pair.saved_bytes * tokens**2,
            each.largest_bytes * tokens + pair.largest_bytes * tokens**2,
            each.flops * tokens + pair.flops * tokens**2,
        )


def takes_texts(bare: Bare) -> bool:
    """Whether an encoder takes tokens."""
    return isinstance(bare.parts.backbone, TextBackbone | SiglipTextBackbone)


def count_activations(bare: Bare, max_length: int, *, bfloat16: bool) -> Activations:
    """Count them; the encoder is on fake tensors afterwards, and may be counted again.

    Args:
        bare: of an analysis, its weights on the meta device.
        max_length: tokens that texts are cut to.
        bfloat16: whether it calculates in it.

    Raises:
        UnsupportedModel: it cannot be run without its weights.
    """
    encoder = _Encoder(bare)
    try:
        return _counted(encoder, max_length, bfloat16=bfloat16)
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnsupportedModel(f"what it remembers cannot be counted: {said}") from error


def _counted(encoder: "_Encoder", max_length: int, *, bfloat16: bool) -> Activations:
    with FakeTensorMode(allow_non_fake_inputs=True):
        encoder.make_fake()
        if not encoder.takes_texts:
            few, many = (encoder.run(n, 1, bfloat16=bfloat16) for n in (SMALL, LARGE))
            return Activations(_constant(few, many), _slope(few, many), Cost(0, 0, 0))
        length = encoder.fixed_length or min(max_length, LONGEST)
        few, many = (encoder.run(n, length, bfloat16=bfloat16) for n in (SMALL, LARGE))
        whole = _slope(few, many)
        if encoder.fixed_length:
            share = Cost(*(x / length for x in _numbers(whole)))
            return Activations(_constant(few, many), share, Cost(0, 0, 0), length)
        half_length = max(1, length // 2)
        half = _slope(*(encoder.run(n, half_length, bfloat16=bfloat16) for n in (SMALL, LARGE)))
    return _split(whole, length, half, half_length, _constant(few, many))


def _split(
    whole: Cost, length: int, half: Cost, half_length: int, constant_bytes: float
) -> Activations:
    """Of what items of two lengths cost, the share of a token and that of a pair of tokens."""
    each, pairs = [], []
    for long, short in ((whole.saved_bytes, half.saved_bytes), (whole.flops, half.flops)):
        # long = each * length + pair * length ** 2, and so for the half
        pair = (long / length - short / half_length) / max(1, length - half_length)
        pairs.append(max(0.0, pair))
        each.append(long / length - pairs[-1] * length)
    largest = whole.largest_bytes / length
    return Activations(constant_bytes, Cost(each[0], largest, each[1]), Cost(pairs[0], 0, pairs[1]))


def _numbers(cost: Cost) -> tuple[float, float, float]:
    return cost.saved_bytes, cost.largest_bytes, cost.flops


def _slope(few: Cost, many: Cost) -> Cost:
    """Of one item more. A tensor that is there for all of them counts as the items'."""
    more = LARGE - SMALL
    saved, flops = many.saved_bytes - few.saved_bytes, many.flops - few.flops
    return Cost(saved / more, many.largest_bytes / LARGE, flops / more)


def _constant(few: Cost, many: Cost) -> float:
    return max(0.0, few.saved_bytes - _slope(few, many).saved_bytes * SMALL)


class _Encoder(nn.Module):
    """Backbone, pooling and layers as Embedder has them, of an analysis."""

    def __init__(self, bare: Bare) -> None:
        super().__init__()
        self.backbone = bare.parts.backbone
        self.pooling = bare.parts.pooling
        self.layers = nn.ModuleList(list(bare.parts.layers))
        self._frozen = bare.parts.frozen
        self._input = bare.input
        self.takes_texts = takes_texts(bare)
        padded = isinstance(self.backbone, SiglipTextBackbone)
        self.fixed_length = bare.input[1] if padded and bare.input else None

    def make_fake(self) -> None:
        """From the meta device, new layers from memory, to fake tensors of a CPU; once."""
        if not all(isinstance(parameter, FakeTensor) for parameter in self.parameters()):
            self.to_empty(device="cpu")
        self.train()
        keep_frozen(self.backbone.network, self._frozen)

    def run(self, items: int, length: int, *, bfloat16: bool) -> Cost:
        """The whole of a batch."""
        inputs = self._inputs(items, length)
        flops = FlopCounterMode(display=False)
        numbers = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)
        with _Watch() as watch, flops, _saved(self) as saved, numbers:
            x: Any = self.pooling(self.backbone(inputs))
            for layer in self.layers:
                x = layer(x)
        return Cost(sum(saved.values()), watch.largest_bytes, flops.get_total_flops())

    def _inputs(self, items: int, length: int) -> Any:  # noqa: ANN401  what the backbone takes
        if self.takes_texts:
            ids_BT = torch.ones(items, length, dtype=torch.long)
            return Tokens(ids_BT, torch.ones_like(ids_BT))
        if isinstance(self.backbone, VectorBackbone):
            return torch.empty(items, self.backbone.feature_dim)
        if self._input is None or len(self._input) != 4:
            raise UnsupportedModel("what it remembers of images of any shape cannot be counted")
        return torch.empty(items, *self._input[1:])


@contextmanager
def _saved(module: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes of each storage, but for the weights', that autograd saves within."""
    weights = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    found: dict[int, int] = {}
    held: list[Any] = []  # while it lives, no other has its address

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            found[storage._cdata] = storage.nbytes()
            held.append(storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield found


class _Watch(TorchDispatchMode):
    """The largest tensor that is made within."""

    def __init__(self) -> None:
        super().__init__()
        self.largest_bytes = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401  what torch gives
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        for value in tree_flatten(result)[0]:
            if isinstance(value, Tensor):
                self.largest_bytes = max(self.largest_bytes, value.numel() * value.element_size())
        return result
