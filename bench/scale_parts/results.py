"""What bench/scale.py keeps: its JSON, the goals, and the measured part of docs/scale.md."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scale_parts import figure, tables

JsonObject = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench/results/scale.json"
DOCUMENT = ROOT / "docs/scale.md"
PICTURE = ROOT / "docs/figures/scale.png"
BEGIN, END = "<!-- measured: bench/scale.py writes this -->\n", "<!-- measured: end -->\n"

CHILD_P99_S = {20.0: 0.3, 100.0: 0.5}
ENDED_P99_S = 1.0
RSS_MIB = 300.0
RESIDENT = 10_000
REST_CALLS = 10.0
"""More calls a minute at rest than without a job that are still the same: the clock's chance."""


@dataclass(frozen=True)
class Goal:
    """One of the issue's goals for the operator; found is None where it was not measured."""

    what: str
    found: float | None
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether it was measured, and is within its limit."""
        return self.found is not None and self.found <= self.limit

    @property
    def line(self) -> str:
        """For people."""
        verdict = "met" if self.met else "MISSED" if self.found is not None else "NOT MEASURED"
        found = "-" if self.found is None else f"{self.found:.3g}"
        return f"| {self.what} | {found} {self.unit} | {self.limit:g} {self.unit} | {verdict} |"


def read(path: Path) -> dict[str, JsonObject]:
    """The systems' results so far."""
    found: dict[str, JsonObject] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write(path: Path, kept: dict[str, JsonObject]) -> None:
    """All of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n")


def goals(found: JsonObject) -> list[Goal]:
    """How the operator's results compare with what was asked."""
    stages: list[JsonObject] = found["stages"]
    loads = [stage for stage in stages if stage["kind"] == "load"]
    coming = [stage for stage in stages if stage["kind"] in ("load", "churn")]
    at_most = [stage for stage in stages if stage["resident"] >= RESIDENT]
    listed = [
        Goal(f"apply to child Job, p99, at {rate:g}/s", _child_p99(loads, rate), limit, "s")
        for rate, limit in CHILD_P99_S.items()
    ]
    ended = [stage["ended"]["p99"] for stage in coming]
    worst = None if not ended or None in ended else max(ended)
    memory = [stage["peak_mib"][user] for stage in at_most for user in found["users"]]
    return [
        *listed,
        Goal("finish to status, p99, the worst of all loads", worst, ENDED_P99_S, "s"),
        Goal("memory at 10,000 jobs, the most", max(memory, default=None), RSS_MIB, "MiB"),
        Goal("duplicate children", found["duplicates"], 0, ""),
        Goal(
            "calls a minute at rest with 10,000 jobs, beyond those with none",
            _more_at_rest(stages),
            REST_CALLS,
            "",
        ),
    ]


def _child_p99(loads: list[JsonObject], rate: float) -> float | None:
    for stage in loads:
        if stage["rate"] == rate:
            first: float | None = next(iter(stage["started"].values()))["p99"]
            return first
    return None


def _more_at_rest(stages: list[JsonObject]) -> float | None:
    """Calls a minute with RESIDENT jobs above those with none, without the pages of a resync."""
    rests = {stage["resident"]: stage for stage in stages if stage["kind"] == "rest"}
    if 0 not in rests or max(rests) < RESIDENT:
        return None
    return tables.calls_a_minute(rests[max(rests)]) - tables.calls_a_minute(rests[0])


def measured(kept: dict[str, JsonObject], goal_lines: list[Goal]) -> str:
    """The measured part of the document."""
    parts = []
    if goal_lines:
        rows = "\n".join(goal.line for goal in goal_lines)
        parts.append(f"## Goals\n\n| goal | found | limit | |\n|---|---|---|---|\n{rows}\n")
    parts += tables.all_of(kept)
    return "\n".join(parts)


def document(kept: dict[str, JsonObject], name: str = "embedtune") -> None:
    """Write the measured part of docs/scale.md, and its picture."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    part = measured(kept, goals(kept[name]) if name in kept else [])
    DOCUMENT.write_text(f"{before}{BEGIN}\n{part}\n{END}{after}", encoding="utf-8")
    figure.draw(kept, PICTURE)
