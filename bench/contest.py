"""Systems that train the same on the same data, compared in one run.

First each takes the gradient of one and the same batch, without dropout, in float32: losses and
gradient norms must agree, or there is nothing to compare. Then they take turns, each training so
many steps by its own loop from a fresh model (see contestant), so that a slow moment of the machine
meets all. On a busy machine times can be several times too high, for one system and not for the
other: above QUIET the result says that it is worth nothing. A system that asks for more memory than
the machine has free takes no turns, and the result says so.
"""

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from contestant import Start, System, Turn, alone, first, train

RESULTS = Path(__file__).parent / "results"
OURS = "embedtune"
QUIET = 0.1
"""Share of the processors' time that others may take while a system trains."""
ALIKE = {"steps", "turns", "threads", "out"}
"""Arguments that leave a contest the same."""
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12}
"""Of GPUs in bfloat16 without sparsity, by the maker's data sheets."""
Systems = Mapping[str, Callable[[], System]]


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
                turns.append(alone(train, name, contest.systems[name], options))
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
            found[name] = alone(first, contest.systems[name], options)
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
