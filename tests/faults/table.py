"""The outcomes as a page: a table for each life, one for the watches, and what went wrong."""

from collections.abc import Mapping, Sequence

from tests.faults.matrix import Calm, Outcome
from tests.faults.proxy import ANSWERS, KILLS
from tests.faults.watch_faults import WATCH_FAULTS

HEAD = """\
# Every fault at every write

Written by `make faults` ([faults.md](faults.md) says what the words mean). `=`: the end was the
same as without the fault, nothing was made twice, and what had ended stayed ended. `=*`: so it was,
and an Event was not posted, since the operator was killed or refused between a status and its
Event. `-`: there was no such write, at a second try neither, since statuses that can wait are
written together under load. Empty: an earlier life goes the same way until after that write.
Anything else is described below the tables.
"""


def page(calm: Mapping[str, Calm], outcomes: Sequence[Outcome], seconds: float) -> str:
    """All of it, in Markdown."""
    wrong = [o for o in outcomes if o.wrong]
    missed = sum(o.missed for o in outcomes)
    summary = (
        f"{len(outcomes) - missed} lives with a fault each, {len(wrong)} of them wrong, and"
        f" {missed} without the write that was to fail, in {seconds:.0f} s."
    )
    parts = [HEAD, summary, ""]
    for name, life in calm.items():
        parts += [f"## {name}", "", *_writes(name, life, outcomes), ""]
    parts += ["## Watches and lists", "", *_watches(list(calm), outcomes)]
    if wrong:
        parts += ["", "## Wrong", ""]
        parts += [f"- {o.life}, {o.fault}, write {o.number}: {o.wrong}" for o in wrong]
    return "\n".join(parts) + "\n"


def _writes(name: str, life: Calm, outcomes: Sequence[Outcome]) -> list[str]:
    faults = [str(fault) for fault in (*KILLS, *ANSWERS)]
    cells = {(o.number, o.fault): _cell(o) for o in outcomes if o.life == name}
    rows = [
        [f"{number} {write}", *(cells.get((number, fault), "") for fault in faults)]
        for number, write in enumerate(life.writes)
    ]
    return _table(["write", *faults], rows)


def _watches(names: Sequence[str], outcomes: Sequence[Outcome]) -> list[str]:
    cells = {(o.fault, o.life): _cell(o) for o in outcomes if o.number < 0}
    rows = [[f.name, *(cells.get((f.name, name), "") for name in names)] for f in WATCH_FAULTS]
    return _table(["fault", *names], rows)


def _cell(outcome: Outcome) -> str:
    if outcome.wrong:
        return "**wrong**"
    if outcome.missed:
        return "-"
    return "=*" if outcome.lost else "="


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
