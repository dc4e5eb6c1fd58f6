"""Systems that train the same on the same data, compared in one run.

First each takes the gradient of one and the same batch, without dropout, in float32: losses and
gradient norms must agree, or there is nothing to compare. Then they take turns, each training so
many steps by its own loop from a fresh model in a process of its own, so that a slow moment of the
machine meets all, and nothing that one sets or leaves behind helps or hinders another. Each is
forked from one that has imported everybody's libraries and done nothing else. Wall time, memory,
and the processor time of that process and of its workers are taken. On a busy machine times can be
several times too high, for one system and not for the other: what others took of the processors is
measured, too, and above QUIET the result says that it is worth nothing. A system that asks for more
memory than the machine has free takes no turns, and the result says so.
"""

import argparse
import gc
import multiprocessing
import os
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from embedtune_trainer.machine import available_bytes

RESULTS = Path(__file__).parent / "results"
OURS = "embedtune"
QUIET = 0.1
"""Share of the processors' time that others may take while a system trains."""
ALIKE = {"steps", "turns", "threads", "out"}
"""Arguments that leave a contest the same."""
LIBRARIES = (
    *("torch", "torchvision", "transformers", "datasets", "sentence_transformers"),
    *("open_clip", "pytorch_metric_learning.losses", "embedtune_trainer.training.fit"),
)
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12}
"""Of GPUs in bfloat16 without sparsity, by the maker's data sheets."""
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


Systems = Mapping[str, Callable[[], System]]


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


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        options: by name.
        name: of the file with the result: the script's, with what is not as it is by default.
        command: the same once more.
    """

    options: argparse.Namespace
    name: str
    command: str


@dataclass(frozen=True)
class Contest:
    """What is compared.

    Attributes:
        request: by whoever runs it.
        title: the result's first line.
        systems: by name; OURS is one of them.
        checked: those whose first batch is the same as ours.
        goals: the least factor over each.
        notes: sentences for the result's end.
        tolerance: of losses and gradient norms, relative.
        row_flops: floating-point operations of a row's way forward and back, without padding and
            whatever is calculated twice.
    """

    request: Request
    title: str
    systems: Systems
    checked: Sequence[str]
    goals: Mapping[str, float]
    notes: Sequence[str] = ()
    tolerance: float = 1e-4
    row_flops: float | None = None


def parser(text: str | None, *, steps: int) -> argparse.ArgumentParser:
    """With what all contests take; its own arguments, which a result is named by, come later."""
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--steps", type=int, default=steps, help="of each training")
    made.add_argument("--turns", type=int, default=3, help="trainings of each system")
    made.add_argument("--threads", type=int, default=os.cpu_count())
    made.add_argument("--device", default="cpu", help="cpu or cuda")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    return made


def request(parse: argparse.ArgumentParser, arguments: Sequence[str]) -> Request:
    """Parsed; a contest of other size, network or device has a result of its own."""
    options = parse.parse_args(arguments)
    changed = (
        f"{value}"
        for name, value in vars(options).items()
        if name not in ALIKE and value != parse.get_default(name)
    )
    return Request(
        options=options,
        name="_".join((Path(parse.prog).stem, *changed)),
        command=shlex.join(("PYTHONPATH=local", "python", f"bench/{parse.prog}", *arguments)),
    )


def run(contest: Contest) -> int:
    """Hold it and write it down; 1 if a goal is missed or the machine was busy."""
    options = contest.request.options
    starts, too_large = _check(contest)
    turns: list[Turn] = []
    for number in range(options.turns):
        for name in sorted(set(contest.systems) - set(too_large), reverse=number % 2 == 1):
            try:
                turns.append(_alone(_train, name, contest.systems[name], options))
                print(turns[-1], file=sys.stderr, flush=True)
            except MemoryError as error:
                too_large[name] = str(error)
                print(f"{name}: {error}", file=sys.stderr, flush=True)
    turns = [turn for turn in turns if turn.system not in too_large]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{contest.request.name}.md"
    path.write_text(_text(contest, starts, turns, too_large))
    print(path.read_text())
    busy = any(turn.others > QUIET for turn in turns)
    goals = {name: goal for name, goal in contest.goals.items() if name not in too_large}
    missed = any(_rate(turns, OURS) / _rate(turns, name) < goal for name, goal in goals.items())
    return int(busy or missed or not goals)


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


def _check(contest: Contest) -> tuple[dict[str, Start], dict[str, str]]:
    """The first batch of ours and of those that have the same; fails where they differ.

    Returns:
        Each one's, and what is told of those that had too little memory for it.
    """
    options = contest.request.options
    found: dict[str, Start] = {}
    too_large: dict[str, str] = {}
    for name in (OURS, *contest.checked):
        try:
            found[name] = _alone(_first, contest.systems[name], options)
        except MemoryError as error:
            too_large[name] = str(error)
    if len(found) == 1 or OURS not in found:
        raise AssertionError(f"nothing to compare: {too_large}")
    own = found[OURS]
    for name, start in found.items():
        apart = abs(start.loss / own.loss - 1), abs(start.gradient_norm / own.gradient_norm - 1)
        if max(apart) > contest.tolerance:
            raise AssertionError(f"on the first batch, {name} has {start}, {OURS} {own}")
    return found, too_large


def _alone(work: Callable[..., Made], *given: object) -> Made:
    """What it makes in a fresh process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *given).result()


def _first(make: Callable[[], System], options: argparse.Namespace) -> Start:
    """In this process, in float32 indeed."""
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


def _train(name: str, make: Callable[[], System], options: argparse.Namespace) -> Turn:
    """In this process."""
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
    busy_s, cpu_s, begun = _busy_s(), _cpu_s(), time.perf_counter()
    with memory_limited():
        trained = system.train(options.steps)
    if options.device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begun
    own_s = _cpu_s() - cpu_s
    others = (_busy_s() - busy_s - own_s) / (seconds * (os.cpu_count() or 1))
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


def _busy_s() -> float:
    """That all processors of the machine have worked, for this system or for others."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _cpu_s() -> float:
    """Of this process and of those it has waited for."""
    own, others = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _status_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def _rate(turns: Sequence[Turn], name: str) -> float:
    return median(turn.rows / turn.seconds for turn in turns if turn.system == name)


def _text(
    contest: Contest,
    starts: Mapping[str, Start],
    turns: Sequence[Turn],
    too_large: Mapping[str, str],
) -> str:
    """The result as Markdown."""
    options = contest.request.options
    lines = [
        f"# {contest.title}",
        "",
        "| system | rows/s | embedtune is | CPU s per 1,000 rows | peak MB | above its start"
        " | a worker's MB | GPU MB | waits for data | MFU |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {name} | {what} {'| ' * 9}".rstrip() for name, what in sorted(too_large.items())]
    trained = set(contest.systems) - set(too_large)
    for name in sorted(trained, key=lambda name: _rate(turns, name)):
        own = [turn for turn in turns if turn.system == name]
        rates = [turn.rows / turn.seconds for turn in own]
        cpu = median(1000 * turn.cpu_s / turn.rows for turn in own)
        factor = _rate(turns, OURS) / _rate(turns, name)
        goal = f" (goal {contest.goals[name]:g})" if name in contest.goals else ""
        peak, worker, device = (
            max(getattr(turn, kind) for turn in own) for kind in ("peak", "worker", "device")
        )
        above = median(turn.peak - turn.before for turn in own)
        waits = median(turn.wait_s / turn.seconds for turn in own)
        lines.append(
            f"| {name} | {median(rates):,.1f} ({min(rates):,.1f} to {max(rates):,.1f})"
            f" | {factor:.2f}x{goal} | {cpu:.2f} | {peak:,.0f} | {above:,.0f}"
            f" | {worker:,.0f} | {device:,.0f} | {waits:.1%} | {_mfu(contest, turns, name)} |"
        )
    equal = "; ".join(
        f"{name} {start.loss:.6f} and {start.gradient_norm:.6f}" for name, start in starts.items()
    )
    others = max(turn.others for turn in turns)
    if others > QUIET:
        lines += ["", f"**Of no worth: others took up to {others:.0%} of the processors.**"]
    lines += [
        "",
        f"Medians of {options.turns} turns of {options.steps} steps, with the least and the"
        f" greatest; others took {others:.0%} of the processors at most. The first batch's loss"
        f" and gradient norm, in float32 without dropout: {equal}."
        f" {' '.join(contest.notes)}",
        "",
        f"Command: `{contest.request.command}` on {_machine(options)}.",
    ]
    if options.device == "cpu":
        lines += ["", "Not measured here: a GPU's figures (`--device cuda`), for want of one."]
    return "\n".join(lines) + "\n"


def _mfu(contest: Contest, turns: Sequence[Turn], name: str) -> str:
    """Share of what the GPU could calculate that went into what the rows need."""
    if contest.request.options.device != "cuda" or contest.row_flops is None:
        return "–"
    gpu = torch.cuda.get_device_name()
    peak = next((flops for kind, flops in PEAK_FLOPS.items() if kind in gpu), None)
    return "–" if peak is None else f"{_rate(turns, name) * contest.row_flops / peak:.1%}"


def _machine(options: argparse.Namespace) -> str:
    gpu = f", {torch.cuda.get_device_name()}" if options.device == "cuda" else ""
    return (
        f"{platform.platform()}, {os.cpu_count()} cores{gpu}, {options.threads} threads,"
        f" load {os.getloadavg()[1]:.1f}; Python {platform.python_version()},"
        f" torch {torch.__version__}"
    )
