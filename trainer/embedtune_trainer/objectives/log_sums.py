"""The logarithms of a softmax's denominators, for all rows and columns of B x C logits, by blocks.

The logits are s l_i . c_j, and some are left out. They are held a block of rows at a time, and
calculated once more on the way back unless one block holds them all, so that the memory is
O(block), never O(B C). The gradient is exact, for both sides and the scale.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from embedtune_trainer.objectives.blocks import row_blocks

LeftOut = Callable[[int, int], tuple[Tensor, Tensor]]
"""Of the rows from begin to end: which logits are left out, (K,) rows less begin and (K,) columns.

On the logits' device; in any order, repeats allowed.
"""


def diagonal(device: torch.device) -> LeftOut:
    """Each row's own column."""

    def left_out(begin: int, end: int) -> tuple[Tensor, Tensor]:
        row_R = torch.arange(end - begin, device=device)
        return row_R, row_R + begin

    return left_out


def leave_out(logits_RC: Tensor, row_K: Tensor, column_K: Tensor) -> None:
    """Put -inf at these places.

    Not by logits_RC[row_K, column_K]: on a GPU with deterministic algorithms torch looks there at
    the largest index first, and so waits for all that it was given to do.
    """
    place_K = row_K * logits_RC.shape[1] + column_K
    logits_RC.view(-1).index_fill_(0, place_K, float("-inf"))


def log_sums(
    left_BD: Tensor, right_CD: Tensor, scale: Tensor, left_out: LeftOut | None = None
) -> Tensor:
    """(B,): ln sum_j exp(s l_i . c_j); -inf with a gradient of zeros where all are left out."""
    found: tuple[Tensor, Tensor] = _LogSums.apply(left_BD, right_CD, scale, left_out, False, False)
    return found[0]


def softmax_losses(
    left_BD: Tensor,
    right_CD: Tensor,
    scale: Tensor,
    left_out: LeftOut | None = None,
    *,
    symmetric: bool,
) -> tuple[Tensor, Tensor]:
    """Cross-entropies of each row's own column, the one of its number, which is never left out.

    Args:
        left_BD: l, of length 1 where logits are scaled cosines.
        right_CD: c, C >= B.
        scale: scalar s.
        left_out: the others that do not count.
        symmetric: whether also over the rows of each of the first B columns.

    Returns:
        (B,) ln sum_j exp(s l_i . c_j) - s l_i . c_i, and (B,) ln sum_i exp(s l_i . c_j) - s l_j .
        c_j, or (0,) unless symmetric. Neither is below 0.
    """
    found: tuple[Tensor, Tensor] = _LogSums.apply(
        left_BD, right_CD, scale, left_out, True, symmetric
    )
    return found


class _LogSums(torch.autograd.Function):
    """With `own`, what a row (a column) gives is taken relative to its own logit."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  torch's own
        left_BD: Tensor,
        right_CD: Tensor,
        scale: Tensor,
        left_out: LeftOut | None,
        own: bool,
        symmetric: bool,
    ) -> tuple[Tensor, Tensor]:
        rows = len(left_BD)
        own_B = left_BD.new_zeros(0)
        if own:
            own_B = (left_BD * right_CD[:rows]).sum(-1) * scale
        ctx.left_out, ctx.own, ctx.symmetric = left_out, own, symmetric
        row_B = left_BD.new_empty(rows)
        column_B = left_BD.new_full((rows if symmetric else 0,), float("-inf"))
        blocks = row_blocks(rows, len(right_CD), left_BD.device)
        kept: list[Tensor] = []
        for begin, end in blocks:
            logits_RC = _logits(left_BD, right_CD, scale, left_out, own_B, begin, end)
            if symmetric:
                back_RB = logits_RC[:, :rows] - own_B
                torch.logaddexp(column_B, torch.logsumexp(back_RB, 0), out=column_B)
                del back_RB
            if len(blocks) == 1:
                kept.append(logits_RC.clone())
            if own:
                logits_RC -= own_B[begin:end, None]
            row_B[begin:end] = torch.logsumexp(logits_RC, 1)
        ctx.save_for_backward(left_BD, right_CD, scale, own_B, row_B, column_B, *kept)
        return row_B, column_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_row_B: Tensor, of_column_B: Tensor) -> Any:  # noqa: ANN401
        left_BD, right_CD, scale, own_B, row_B, column_B, *kept = ctx.saved_tensors
        rows = len(left_BD)
        row_B = row_B.masked_fill(row_B.isneginf(), 0.0)  # exp(-inf - 0) = 0
        to_left_BD, to_right_CD = torch.empty_like(left_BD), torch.zeros_like(right_CD)
        for begin, end in row_blocks(rows, len(right_CD), left_BD.device):
            if kept:
                logits_RC = kept[0].clone()
            else:
                logits_RC = _logits(left_BD, right_CD, scale, ctx.left_out, own_B, begin, end)
            row_R1 = row_B[begin:end, None]
            of_row_R = of_row_B[begin:end]
            back_RB = None
            if ctx.symmetric:
                back_RB = logits_RC[:, :rows].sub(own_B).sub_(column_B).exp_().mul_(of_column_B)
            if ctx.own:
                row_R1 = row_R1 + own_B[begin:end, None]
            of_logits_RC = logits_RC.sub_(row_R1).exp_().mul_(of_row_R[:, None])
            if back_RB is not None:
                of_logits_RC[:, :rows] += back_RB
                of_row_R = of_row_R + of_column_B[begin:end]
            if ctx.own:
                of_logits_RC.diagonal(begin).sub_(of_row_R)
            torch.mm(of_logits_RC, right_CD, out=to_left_BD[begin:end])
            to_right_CD.addmm_(of_logits_RC.T, left_BD[begin:end])
        to_scale = (to_left_BD * left_BD).sum().reshape(scale.shape)
        return to_left_BD.mul_(scale), to_right_CD.mul_(scale), to_scale, None, None, None


def _logits(
    left_BD: Tensor,
    right_CD: Tensor,
    scale: Tensor,
    left_out: LeftOut | None,
    own_B: Tensor,
    begin: int,
    end: int,
) -> Tensor:
    """(R, C) of the rows from begin to end; the own ones, if given, stand on their diagonal."""
    logits_RC = (left_BD[begin:end] @ right_CD.T).mul_(scale)
    if left_out is not None:
        leave_out(logits_RC, *left_out(begin, end))
    if len(own_B):
        logits_RC.diagonal(begin).copy_(own_B[begin:end])
    return logits_RC
