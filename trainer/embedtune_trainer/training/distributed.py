"""Several processes that take each step together, as if they were one.

Every process encodes its share of the batch. The embeddings are gathered, each process takes the
loss of the whole batch and keeps the gradient of its own share. So every row sees the negatives of
all processes, and what the processes' encoders learn is summed up: the same gradient as that of one
process with the whole batch, where a mean over the processes' own losses would be another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from embedtune_trainer.processes import Processes, exchange

Indices = NDArray[np.int64]
BUCKET: Final = 2**23
"""Numbers that are summed up over the processes at a time."""


@dataclass(frozen=True)
class World:
    """The processes of a training, that have joined.

    Attributes:
        rank: this process's number.
        size: how many there are; with 1 nothing is ever sent.
        local_size: how many share this one's machine.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1

    @classmethod
    def of(cls, processes: Processes) -> "World":
        """These."""
        return cls(processes.rank, processes.size, processes.local_size)

    def share(self, rows_B: Indices) -> Indices:
        """This process's part of a batch: consecutive, one row more in the first processes."""
        return np.array_split(rows_B, self.size)[self.rank]

    def place(self, rows: int) -> slice:
        """Where that part stands in a batch of so many rows."""
        own = self.share(np.arange(rows))
        return slice(int(own[0]), int(own[-1]) + 1) if len(own) else slice(0, 0)

    def least(self, value: int) -> int:
        """The least of all processes' values."""
        if self.size == 1:
            return value
        found = torch.tensor(value)
        with exchange():
            dist.all_reduce(found, dist.ReduceOp.MIN)
        return int(found)

    def gather(self, own_bD: Tensor, rows: int) -> Tensor:
        """(B, D) of all processes in the batch's order, without a gradient.

        Args:
            own_bD: of this process's part.
            rows: B.
        """
        most = -(-rows // self.size)
        padded_bD = own_bD.new_zeros((most, own_bD.shape[1]))
        padded_bD[: len(own_bD)] = own_bD.detach()
        all_PbD = [torch.empty_like(padded_bD) for _ in range(self.size)]
        with exchange():
            dist.all_gather(all_PbD, padded_bD)
        sizes = [len(part) for part in np.array_split(np.arange(rows), self.size)]
        return torch.cat([x_bD[:size] for x_bD, size in zip(all_PbD, sizes, strict=True)])

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients of all processes; None stays None where no process has one."""
        given = self._anywhere([p.grad is not None for p in parameters])
        found = [p for p, has in zip(parameters, given, strict=True) if has]
        for parameter in found:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._sum([p.grad for p in found if p.grad is not None])

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean of all processes in place of each; all of one kind of number."""
        if tensors:
            self._sum(tensors)
            torch._foreach_div_(list(tensors), self.size)

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Of the loss's own weights, which every process has whole: only rounding can differ."""
        self.average([p.grad for p in parameters if p.grad is not None])

    def _anywhere(self, flags: list[bool]) -> list[bool]:
        """Which are true of any process: hosts know it and tell each other, no device waits."""
        if not flags:
            return flags
        told = torch.tensor(flags, dtype=torch.int32)
        with exchange():
            dist.all_reduce(told, dist.ReduceOp.MAX)
        return [bool(flag) for flag in told.tolist()]

    def _sum(self, tensors: Sequence[Tensor]) -> None:
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with exchange():
                dist.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))


ALONE: Final = World()
"""One process."""


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Consecutive tensors of one dtype, of BUCKET numbers at most unless one alone has more."""
    buckets: list[list[Tensor]] = []
    room = 0
    for tensor in tensors:
        if not buckets or tensor.numel() > room or tensor.dtype != buckets[-1][0].dtype:
            buckets.append([])
            room = BUCKET
        buckets[-1].append(tensor)
        room -= tensor.numel()
    return buckets
