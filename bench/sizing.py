"""What `embedtune size` says of a job, beside the peak of memory that the job then takes.

Each job is a process of its own, one after the other. Its peak is the kernel's high-water mark of
resident memory (ru_maxrss): all pages that the process held, those of files among them, so it is
above what a container's limit is held against. Beside it is what is not a file's, which the kernel
cannot take back: the most that was seen of it at any twentieth of a second.

    PYTHONPATH=local python bench/sizing.py              all jobs, written to bench/results
    PYTHONPATH=local python bench/sizing.py ResNet BERT  those with one of these in their names
    PYTHONPATH=local python bench/sizing.py --keep       new estimates beside the peaks on file
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

from sizing_jobs import Case, cases

from embedtune_api.job import FineTuneJob
from embedtune_api.quantity import parse_quantity

RESULTS = Path(__file__).parent / "results"
RESULT, TABLE = RESULTS / "sizing.json", RESULTS / "sizing.md"
MIB = 2**20
EVERY_S = 0.05
JsonObject = dict[str, Any]


def measured(case: Case, folder: Path) -> JsonObject:
    """Run a job; its peaks in MiB."""
    for name in ("output", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    file = folder / "job.json"
    file.write_text(json.dumps(case.job(folder / "output")))
    command = [sys.executable, "-m", "embedtune_trainer.cli", "run", str(file), "--json"]
    command += ["--work-dir", str(folder / "work")]
    begun, own, disk, looks = time.monotonic(), 0.0, 0.0, 0
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        own = max(own, _own_mib(process.pid))
        if looks % 20 == 0:
            disk = max(disk, _disk_mib(folder / "work"))
        looks += 1
        time.sleep(EVERY_S)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{case.name}: {(folder / 'log').read_text()[-2000:]}")
    return {
        "peak_mib": round(usage.ru_maxrss / 1024),
        "own_mib": round(own),
        "disk_mib": round(disk),
        "seconds": round(time.monotonic() - begun),
    }


def _own_mib(pid: int) -> float:
    """Of a process, what is not a file's."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = dict(line.split(":", 1) for line in lines)
    fields = ("RssAnon", "RssShmem")
    return sum(int(sizes[name].split()[0]) for name in fields if name in sizes) / 1024


def _disk_mib(folder: Path) -> float:
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.stat().st_blocks * 512 if path.is_file() else 0
        except OSError:
            continue  # gone meanwhile
    return found / MIB


def estimated(case: Case, folder: Path) -> JsonObject:
    """What `embedtune size` says of a job, in MiB."""
    from embedtune_trainer.sizing.estimate import estimate
    from embedtune_trainer.sizing.gather import gather
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    spec = FineTuneJob.parse(case.job(folder / "output")).spec
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.monotonic()
        store = open_storage(spec.storage, Event(), RetryPolicy())
        found = estimate(gather(spec, store, Path(scratch)), spec, 0)
    return {
        "estimate_mib": int(parse_quantity(found.memory) / MIB),
        "disk_estimate_mib": int(parse_quantity(found.ephemeral_storage or "0.1") / MIB),
        "estimate_seconds": round(time.monotonic() - begun, 1),
        "reasoning": list(found.reasoning),
    }


def table(found: Mapping[str, JsonObject]) -> str:
    """As Markdown, and what it comes to."""
    lines = [
        "| job | estimate | peak | share | of it not files' | disk, estimate | disk, peak |",
        "|---|---|---|---|---|---|---|",
    ]
    shares = []
    for name, one in found.items():
        shares.append(one["peak_mib"] / one["estimate_mib"])
        lines.append(
            f"| {name} | {one['estimate_mib']:,} | {one['peak_mib']:,} | {shares[-1]:.2f} |"
            f" {one['own_mib']:,} | {one['disk_estimate_mib']:,} | {one['disk_mib']:,} |"
        )
    over, half = sum(s > 1 for s in shares), sum(s < 0.5 for s in shares)
    return (
        "\n".join(lines) + f"\n\nOf {len(shares)} jobs {over} went above the estimate, and {half}"
        " stayed under half of it.\n"
    )


def main(arguments: list[str]) -> int:
    """The exit code: 1 if a job went above its estimate."""
    keep, names = "--keep" in arguments, [a for a in arguments if not a.startswith("--")]
    known: dict[str, JsonObject] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found: dict[str, JsonObject] = {}
    folder = Path(tempfile.gettempdir()) / "embedtune-sizing"
    folder.mkdir(exist_ok=True)
    for case in cases(folder):
        old = known.get(case.name)
        if names and not any(name in case.name for name in names):
            if old is not None:
                found[case.name] = old
            continue
        if keep and old is None:
            continue
        peaks = old if keep and old is not None else measured(case, folder)
        found[case.name] = {**peaks, **estimated(case, folder)}
        RESULT.write_text(json.dumps(known | found, indent=1) + "\n")
        print(
            case.name, {k: v for k, v in found[case.name].items() if k != "reasoning"}, flush=True
        )
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    TABLE.write_text(
        "# The memory of jobs, estimated and measured\n\n"
        "`python bench/sizing.py`, MiB, each job a process on a CPU.\n\n" + table(found)
    )
    print(table(found))
    return int(any(one["peak_mib"] > one["estimate_mib"] for one in found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
