"""What is frozen takes a batch of feature maps a few at a time.

Batch normalisation that is trained wants the whole batch, so that it cannot be encoded in parts.
The frozen layers in front of it do not: in evaluation mode an item's output is its own. On a CPU
maps that stay near the cache, and allocations that glibc need not give back, make a training step
of MobileNetV2 with 14 of its 19 blocks frozen 1.8 times as fast at 160 pixels and a batch of 128
(bench/parts.py), and what they hold meanwhile is little.
"""

from types import MethodType
from typing import Any, Final

import torch
from torch import Tensor, nn

PIECE_BYTES: Final = 2 << 20
"""Of a module's input that it takes at a time."""


def take_some_at_a_time(module: nn.Module) -> None:
    """From now on the module takes maps (N, ., ., .) a few at a time, where nothing changes by it.

    That is in evaluation mode, on a CPU, within a training step: elsewhere whoever calls the
    embedder has cut the batch already, or wants the graph as it is.
    """
    # A bound method, so that a deep copy of the module has one of its own.
    module.forward = MethodType(_forward, module)


def _forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  the module's own
    whole = type(module).forward
    count = _at_a_time(args[0]) if len(args) == 1 and not kwargs and not module.training else 0
    if count == 0:
        return whole(module, *args, **kwargs)
    first, *others = args[0].split(count)
    out = whole(module, first)
    if not isinstance(out, Tensor) or len(out) != len(first):
        return whole(module, *args)
    return torch.cat([out, *(whole(module, piece) for piece in others)])


def _at_a_time(x: object) -> int:
    """Items in a piece; 0 if it is to stay whole."""
    if (
        not isinstance(x, Tensor)
        or x.dim() != 4  # the batch of others may be elsewhere
        or x.device.type != "cpu"
        or not torch.is_grad_enabled()
        or torch.compiler.is_compiling()
    ):
        return 0
    count = max(1, PIECE_BYTES * len(x) // max(1, x.nbytes))
    return count if count < len(x) else 0
