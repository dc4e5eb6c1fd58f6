"""The tables of docs/scale.md, from the results' JSON."""

from collections.abc import Callable, Iterable
from typing import Any

from localcluster.controlplane import APISERVER

JsonObject = dict[str, Any]
PAGES = "list"
"""The verb of a resync, which comes every ten minutes and in pages, so not at every rest."""


def all_of(kept: dict[str, JsonObject]) -> list[str]:
    """All sections, in order."""
    rates = sorted({s["rate"] for f in kept.values() for s in f["stages"] if s["kind"] == "load"})
    parts = [_load(kept, rate) for rate in rates]
    parts += [_verbs(kept), _growth(kept), _rest(kept), _settings(kept)]
    return parts


def seconds(value: float | None, longest: float) -> str:
    """A latency for people; one that was not seen is more than the time that was waited."""
    if value is None:
        return f"> {longest:.0f} s"
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def calls_a_minute(stage: JsonObject) -> float:
    """The system's calls of a stage at rest, but for a resync's pages."""
    number = sum(number for verb, number in stage["verbs"].items() if verb != PAGES)
    return float(60 * number / stage["seconds"])


def cpu_ms_a_job(found: JsonObject, stage: JsonObject) -> float:
    """Processor time of the system's own processes for each job."""
    return 1000 * _own(found, stage["cpu_s"]) / max(1, int(stage["jobs"]))


def own_mib(found: JsonObject, stage: JsonObject) -> float:
    """The most memory of the system's own processes."""
    return _own(found, stage["peak_mib"])


def calls_a_job(stage: JsonObject) -> float:
    """All of the system's calls for each job."""
    return float(sum(stage["verbs"].values())) / max(1, int(stage["jobs"]))


def all_cpu_ms_a_job(stage: JsonObject) -> float:
    """Processor time of everything on the machine for each job, the bench itself included."""
    used_s = sum(stage["cpu_s"].values()) + stage["others_s"]
    return float(1000 * used_s) / max(1, int(stage["jobs"]))


def _own(found: JsonObject, values: dict[str, float]) -> float:
    return sum(values[user] for user in found["users"])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])


def _percentiles(spread: JsonObject | None, longest: float) -> list[str]:
    if spread is None:
        return ["-", "-"]
    return [seconds(spread["p50"], longest), seconds(spread["p99"], longest)]


def _load(kept: dict[str, JsonObject], rate: float) -> str:
    rows = []
    jobs = 0
    for name, found in kept.items():
        stage = next(
            (s for s in found["stages"] if s["kind"] == "load" and s["rate"] == rate), None
        )
        if stage is None:
            continue
        jobs = stage["jobs"]
        longest = found["plan"]["patience_s"]
        child = next(iter(stage["started"]))
        rows.append(
            [
                *(name, *_percentiles(stage["achieved"]["answered"], longest)),
                *(child, *_percentiles(stage["started"][child], longest)),
                *_percentiles(stage["started"].get("pod"), longest),
                *_percentiles(stage["ended"], longest),
                f"{stage['achieved']['rate']:.1f}/s",
                f"{calls_a_job(stage):.1f}",
                f"{cpu_ms_a_job(found, stage):.1f}",
                f"{1000 * stage['cpu_s'][APISERVER] / jobs:.0f}",
                f"{all_cpu_ms_a_job(stage):.0f}",
                f"{own_mib(found, stage):.0f}",
                f"{100 * stage['busy']:.0f}%",
            ]
        )
    head = (
        *("system", "apply itself, p50", "p99", "first child", "apply to it, p50", "p99"),
        *("apply to pod, p50", "p99"),
        *("finish to status, p50", "p99", "load", "calls a job", "CPU ms a job"),
        *("API server's CPU ms a job", "the machine's", "MiB", "machine busy"),
    )
    return f"## {jobs:,} jobs at {rate:g} a second\n\n{_table(head, rows)}"


def _verbs(kept: dict[str, JsonObject]) -> str:
    firsts = {
        name: next((s for s in found["stages"] if s["kind"] == "load"), None)
        for name, found in kept.items()
    }
    verbs = sorted({verb for stage in firsts.values() if stage for verb in stage["verbs"]})
    rows = [
        [name, *(f"{stage['verbs'].get(verb, 0) / stage['jobs']:.2f}" for verb in verbs)]
        for name, stage in firsts.items()
        if stage
    ]
    return f"## Calls a job, by verb, in the first load\n\n{_table(['system', *verbs], rows)}"


def _growth(kept: dict[str, JsonObject]) -> str:
    rows = []
    for name, found in kept.items():
        longest = found["plan"]["patience_s"]
        for stage in (s for s in found["stages"] if s["kind"] == "churn"):
            child = next(iter(stage["started"].values()))
            rows.append(
                [
                    *(name, f"{stage['resident']:,}"),
                    *_percentiles(child, longest),
                    *_percentiles(stage["ended"], longest),
                    f"{calls_a_job(stage):.1f}",
                    f"{cpu_ms_a_job(found, stage):.1f}",
                    f"{own_mib(found, stage):.0f}",
                    f"{100 * stage['busy']:.0f}%",
                ]
            )
    head = (
        *("system", "resident jobs", "apply to first child, p50", "p99"),
        *("finish to status, p50", "p99", "calls a job", "CPU ms a job", "MiB", "machine busy"),
    )
    return f"## Jobs that come and go beside resident ones\n\n{_table(head, rows)}"


def _rest(kept: dict[str, JsonObject]) -> str:
    rows = []
    for name, found in kept.items():
        for stage in (s for s in found["stages"] if s["kind"] == "rest"):
            pages = 60 * stage["verbs"].get(PAGES, 0) / stage["seconds"]
            rows.append(
                [
                    *(name, f"{stage['resident']:,}", f"{calls_a_minute(stage):.0f}"),
                    f"{pages:.0f}",
                    f"{100 * _own(found, stage['cpu_s']) / stage['seconds']:.1f}%",
                    f"{own_mib(found, stage):.0f}",
                ]
            )
    head = ("system", "resident jobs", "calls a minute", "pages of a resync", "of a core", "MiB")
    return f"## At rest\n\n{_table(head, rows)}"


def _settings(kept: dict[str, JsonObject]) -> str:
    line: Callable[[str, JsonObject], str] = lambda name, found: (  # noqa: E731
        f"- {name}: {found['about']}; {found['duplicates']} duplicate children;"
        f" {found['machine']}; `{found['command']}`"
    )
    lines = "\n".join(line(name, found) for name, found in kept.items())
    return f"## Settings and machines\n\n{lines}\n"
