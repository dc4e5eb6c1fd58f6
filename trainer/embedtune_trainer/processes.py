"""The processes of a run: one alone, or those that torchrun started to train as one.

Nothing else reads torchrun's environment or opens the process group. What is here goes from host to
host, by gloo, and waits for no device; what goes from device to device is training.distributed's.

The main process reports, measures, writes checkpoints and publishes. The others take their share of
each batch, and hear what it decided by `on_main`. Whatever ends one ends all: its connections are
closed, so that the next exchange of every other fails; and it has left its ending where they look
for it (`joined`), so that all of them end with its exit code and its last word.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from embedtune_trainer.errors import BadSpec, PeerLost, TrainerError
from embedtune_trainer.failures import (
    EndedElsewhere,
    Ending,
    ending_of,
    first_line,
    on_another_node,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch._C._distributed_c10d import Store

Told = TypeVar("Told")
MEETING: Final = timedelta(minutes=10)
"""Most that a process waits for the others to come."""
WORKING: Final = timedelta(hours=2)
"""Most that the main process may work while the others wait, on an evaluation or an export. It only
ends the waiting for one whose machine is gone: of one that has ended they hear at once."""
GPUS: Final = "CUDA_VISIBLE_DEVICES"
_ENDING: Final = "ending"


@dataclass(frozen=True)
class Processes:
    """One of them, as it knows itself and the others.

    Attributes:
        rank: its number; 0 is the main process.
        size: how many there are; with 1 nothing is ever sent.
        local_rank: its number on its node.
        local_size: how many are on its node.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def of_environment(cls) -> Self:
        """As torchrun's variables say; alone without them."""
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
            return cls()
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        try:
            return cls(*(int(os.environ[name]) for name in names))
        except KeyError as missing:
            raise BadSpec(f"WORLD_SIZE is set and {missing} is not: start it by torchrun") from None

    @property
    def is_main(self) -> bool:
        """Whether it is the one that reports and writes."""
        return self.rank == 0

    @property
    def several_nodes(self) -> bool:
        """Whether some are on another node than this one."""
        return self.size > self.local_size

    def folder(self, work_dir: Path) -> Path:
        """Its own in the work folder of its node; the first process's is the work folder itself."""
        return work_dir / f"process-{self.local_rank}" if self.local_rank else work_dir

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Within, the processes are a group.

        Raises:
            EndedElsewhere: what is done within failed after another process did.
            PeerLost: the others do not come.
            BadSpec: there are more processes than GPUs on a node.
        """
        if self.size == 1:
            yield
            return
        import torch.distributed as dist

        self._take_gpu()
        store = self._meet()
        try:
            self._check_devices()
            yield
        except BaseException as error:
            rank, ending = self._first(store, error)
            if rank == self.rank:
                raise
            if rank // self.local_size != self.rank // self.local_size:
                ending = on_another_node(rank, ending)
            raise EndedElsewhere(rank, ending) from error
        finally:
            dist.destroy_process_group()

    def on_main(self, work: Callable[[], Told]) -> Told:
        """What the main process gives, in all of them; the others wait for it.

        Raises:
            TrainerError: the main process's, in all of them.
        """
        if self.size == 1:
            return work()
        import torch
        import torch.distributed as dist

        told: list[Any] = [None, None]
        if self.is_main:
            try:
                told[0] = work()
            except TrainerError as error:
                told[1] = error
        with exchange():
            dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
        found, failure = told
        if failure is not None:
            failure.raised_by = None if self.is_main else 0
            raise failure
        return found  # type: ignore[no-any-return]

    def any(self, flag: bool) -> bool:
        """Whether it is true of any process."""
        if self.size == 1:
            return flag
        import torch
        import torch.distributed as dist

        found = torch.tensor(int(flag))
        with exchange():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def fill(self, tensor: "Tensor") -> None:
        """Put the main process's numbers into a contiguous tensor on the CPU, in all of them."""
        import torch
        import torch.distributed as dist

        if self.size > 1 and tensor.numel():
            with exchange():
                dist.broadcast(tensor.view(-1).view(torch.uint8), src=0)

    def barrier(self) -> None:
        """Wait until all are here."""
        self.any(False)

    @contextmanager
    def node_first(self) -> Iterator[None]:
        """The first process of each node goes through it before the others of its node."""
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()

    def _take_gpu(self) -> None:
        """See one GPU alone, so that all threads and libraries mean the same by `cuda`."""
        seen = os.environ.get(GPUS)
        if seen is None:
            os.environ[GPUS] = str(self.local_rank)
        else:
            os.environ[GPUS] = ",".join(seen.split(",")[self.local_rank :][:1])

    def _meet(self) -> "Store":
        """Open the group; returns what endings are left in, which torchrun keeps."""
        import torch
        import torch.distributed as dist

        # Its functions have the group of when it is imported as a default, and would keep it and
        # its threads alive: one that still holds a tensor when Python ends aborts the process.
        import torch.distributed.nn
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        with exchange():
            store, _, _ = next(rendezvous("env://", timeout=MEETING))
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=PrefixStore("group", store),
                rank=self.rank,
                world_size=self.size,
                timeout=WORKING,
            )
        return PrefixStore("embedtune", store)

    def _check_devices(self) -> None:
        import torch

        has_gpu = torch.cuda.is_available()
        if self.any(has_gpu) and self.any(not has_gpu):
            raise BadSpec("a node has more processes than GPUs: start one for each GPU")

    def _first(self, store: "Store", error: BaseException) -> tuple[int, Ending]:
        """The rank and the ending of the process that failed first, as far as can be known."""
        by = error.raised_by if isinstance(error, TrainerError) else None
        rank, own = self.rank if by is None else by, ending_of(error)
        told = json.dumps({"rank": rank, "ending": asdict(own)})
        try:
            said = json.loads(store.compare_set(_ENDING, "", told))
        except RuntimeError:  # torchrun has gone, too
            return rank, own
        return said["rank"], Ending(**said["ending"])


ALONE: Final = Processes()
"""One process."""


@contextmanager
def exchange() -> Iterator[None]:
    """What the processes say to each other within.

    Raises:
        PeerLost: it does not get through.
    """
    try:
        yield
    except RuntimeError as error:  # gloo has no other, NCCL's are of it
        if type(error).__name__ == "OutOfMemoryError":
            raise
        raise PeerLost(
            f"another process of the training has ended without a word ({first_line(error)})"
        ) from error
