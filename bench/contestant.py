"""One system of a contest: what it has to be able to do, and its training, measured.

Each training is by a process of its own, forked from one that has imported everybody's libraries
and done nothing else, so that nothing that one system sets or leaves behind helps or hinders
another. Wall time, memory, and the processor time of that process and of its workers are taken, and
what others took of the processors meanwhile. What a system asks for beyond the memory that the
machine has free is refused to it.
"""

import argparse
import gc
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from scale_parts.usage import busy_s
from torch.utils.flop_counter import FlopCounterMode

from embedtune_trainer.machine import available_bytes

LIBRARIES = (
    *("torch", "torchvision", "transformers", "datasets", "sentence_transformers"),
    *("open_clip", "pytorch_metric_learning.losses", "embedtune_trainer.training.fit"),
)
SPARE_MB = 1024
"""Left to the rest of the machine, of the memory that it has free."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class Start:
    """The first batch's loss and the Euclidean length of the weights' gradient."""

    loss: float
    gradient_norm: float


@dataclass(frozen=True)
class Trained:
    """A training that is over.

    Attributes:
        rows: that its steps saw.
        wait_s: in which the model waited for the data.
    """

    rows: int
    wait_s: float


class System(Protocol):
    """A fresh model with its data, ready to be trained once."""

    def first(self) -> Start:
        """Of the first rows of the data, without dropout; no weight changes."""

    def train(self, steps: int) -> Trained:
        """So many steps by the system's own loop."""


@dataclass(frozen=True)
class Turn:
    """One training of one system, by a process that does nothing else.

    Attributes:
        seconds: of the training alone, its model and data being there.
        cpu_s: of all threads and workers.
        others: share of the processors' time that other processes took meanwhile.
        before: MB resident when the model and the data are there.
        peak: the most MB that were resident in the training.
        worker: the most MB that one of its worker processes had.
        device: the most MB that tensors took on the GPU.
        wait_s: see Trained.
    """

    system: str
    rows: int
    seconds: float
    wait_s: float
    cpu_s: float
    others: float
    before: float
    peak: float
    worker: float
    device: float


def alone(work: Callable[..., Made], *given: object) -> Made:
    """What it makes in a fresh process, as `first` or `train` of this module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *given).result()


def first(make: Callable[[], System], options: argparse.Namespace) -> Start:
    """The system's first batch; in this process, in float32 indeed."""
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False
    with memory_limited():
        return make().first()


@contextmanager
def memory_limited() -> Iterator[None]:
    """What is asked for beyond the memory that is free fails, and no process is killed for it.

    Raises:
        MemoryError: with how much there was.
    """
    free = available_bytes() / 2**20 - SPARE_MB
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int((_status_mb("VmData") + free) * 2**20), hard))
    try:
        yield
    except torch.OutOfMemoryError:
        raise MemoryError("needs more memory than the GPU has") from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        raise MemoryError(f"needs more than the {free:,.0f} MB that were free") from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def train(name: str, make: Callable[[], System], options: argparse.Namespace) -> Turn:
    """Its training, measured; in this process."""
    # as by default in Python 3.11; the workers of a forkserver's child would be the forkserver's,
    # and what they take of the processors that of others
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(options.threads)
    system = make()
    gc.collect()
    if options.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark, from here on
    before = _status_mb("VmRSS")
    busy_before_s, cpu_s, begun = busy_s(), _cpu_s(), time.perf_counter()
    with memory_limited():
        trained = system.train(options.steps)
    if options.device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begun
    own_s = _cpu_s() - cpu_s
    others = (busy_s() - busy_before_s - own_s) / (seconds * (os.cpu_count() or 1))
    return Turn(
        system=name,
        rows=trained.rows,
        seconds=seconds,
        wait_s=trained.wait_s,
        cpu_s=own_s,
        others=max(0.0, others),
        before=before,
        peak=_status_mb("VmHWM"),
        worker=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        device=torch.cuda.max_memory_allocated() / 2**20 if options.device == "cuda" else 0.0,
    )


def _cpu_s() -> float:
    """Of this process and of those it has waited for."""
    own, others = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _status_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def timed(batches: Iterable[Made]) -> Iterator[tuple[Made, float]]:
    """Each, with the seconds that it took to come."""
    begun = time.perf_counter()
    for batch in batches:
        yield batch, time.perf_counter() - begun
        begun = time.perf_counter()


def training_flops(forward: Callable[[], object]) -> float:
    """Of a way forward and back: three times those of the way forward, as is usual.

    Args:
        forward: over tensors of any device; meta tensors calculate nothing.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward()
    return 3.0 * counter.get_total_flops()
