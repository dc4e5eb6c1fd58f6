"""Sums over all pairs of a batch by blocks, so that the batch's square never lies in memory.

A block is what its part of the pairs gives; it is computed once for the value, and once more on the
way back, when its gradient is added to the others'. So the memory is that of one block, for any
batch, and the gradient is exact.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LARGEST: Final = {"cpu": 2**21, "cuda": 2**25}
"""Numbers in a block: on a CPU what its caches hold in part, on a GPU what keeps it busy."""

Block = tuple[int, int]
Part = Callable[..., tuple[Tensor, Tensor]]


def row_blocks(count: int, width: int, device: torch.device) -> list[Block]:
    """Begin and end of blocks of lines, `width` numbers each; at least one line, none if count 0.

    All blocks but the last have the same size.
    """
    lines = max(1, LARGEST.get(device.type, LARGEST["cpu"]) // max(1, width))
    return [(begin, min(begin + lines, count)) for begin in range(0, count, lines)]


def sum_by_blocks(
    part: Part, blocks: Sequence[Block], sums: int, *tensors: Tensor
) -> tuple[Tensor, Tensor]:
    """Add up what each block gives.

    Args:
        part: of a block's begin and end, and the tensors, to (S,) sums with a gradient and (S,)
            counts, integers.
        blocks: in order.
        sums: S.
        tensors: what the sums have a gradient for; the first gives dtype and device.

    Returns:
        (S,) sums and (S,) int64 counts; zeros, with gradients of zeros, without blocks.
    """
    if len(blocks) == 1:
        return part(*blocks[0], *tensors)
    found: tuple[Tensor, Tensor] = _Sum.apply(part, blocks, sums, *tensors)
    return found


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  torch's own
        part: Part,
        blocks: Sequence[Block],
        sums: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.part, ctx.blocks = part, blocks
        ctx.save_for_backward(*tensors)
        total_S = tensors[0].new_zeros(sums)
        count_S = torch.zeros(sums, dtype=torch.int64, device=total_S.device)
        for begin, end in blocks:
            sum_S, n_S = part(begin, end, *tensors)
            total_S += sum_S
            count_S += n_S
        ctx.mark_non_differentiable(count_S)
        return total_S, count_S

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_S: Tensor, _: Any) -> Any:  # noqa: ANN401
        needed = ctx.needs_input_grad[3:]
        tensors = [
            tensor.detach().requires_grad_(need)
            for tensor, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        wanted = [tensor for tensor in tensors if tensor.requires_grad]
        found = [torch.zeros_like(tensor) for tensor in wanted]
        for begin, end in ctx.blocks:
            with torch.enable_grad():
                sum_S, _count = ctx.part(begin, end, *tensors)
            if not sum_S.requires_grad:
                continue
            given = torch.autograd.grad(sum_S, wanted, gradient_S, allow_unused=True)
            for to_tensor, more in zip(found, given, strict=True):
                if more is not None:
                    to_tensor.add_(more)
        left = iter(found)
        return (None, None, None, *(next(left) if need else None for need in needed))
